"""``python -m spikedet`` is the ``spikedet`` command."""

from spikedet.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

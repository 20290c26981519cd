"""``python -m spikedet`` is the ``spikedet`` command."""

from spikedet.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())

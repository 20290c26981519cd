#!/usr/bin/env python3
"""The same as `spikedet detect`, for people who start from the tools folder."""

import sys

from spikedet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["detect", *sys.argv[1:]]))

#!/usr/bin/env python3
"""The same as `spikedet demo`, for people who start from the demo folder."""

import sys

from spikedet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))

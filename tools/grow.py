#!/usr/bin/env python3
"""The same as `spikedet grow`, for people who start from the tools folder."""

import sys

from spikedet.cli import main

if __name__ == "__main__":
    sys.exit(main(["grow", *sys.argv[1:]]))

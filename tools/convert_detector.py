#!/usr/bin/env python3
"""The same as `spikedet convert`, for people who start from the tools folder."""

import sys

from spikedet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))

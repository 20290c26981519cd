#!/usr/bin/env python3
"""The same as `spikedet evaluate`, for people who start from the tools folder."""

import sys

from spikedet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))

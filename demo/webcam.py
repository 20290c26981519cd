#!/usr/bin/env python3
"""The same as `spikedet demo --window`: a camera, an address or a video file in a window."""

import sys

from spikedet.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", "--window", *sys.argv[1:]]))

#!/usr/bin/env python3
"""Peak memory of simulating a converted network, above the loaded idle process, at several T.

    python benchmarks/memory.py [--T 20,200] [--model tiny-yolo] [--image-size 320]

One child process per row, so that one row's peak cannot hide another's. Random weights: memory does not depend on them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import torch

from spikedet.conversion import to_spiking
from spikedet.models import build_detector, load_model_yaml
from spikedet.snn import simulate


def peak_mib() -> float:
    """Largest resident set of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def measure(model: str, image_size: int, T: int, batch: int) -> float:
    """MiB of one simulation over what the idle process with the loaded network has."""
    network = to_spiking(build_detector(load_model_yaml(model), ["a", "b", "c"]), T)
    images = torch.rand(batch, 3, image_size, image_size)
    for _ in simulate(network, images[:, :, :64, :64], [1]):  # libraries allocate on first use
        pass
    idle = peak_mib()
    for _ in simulate(network, images, [T]):
        pass
    return peak_mib() - idle


def main() -> None:
    """One row per T."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-yolo")
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4, help="pictures simulated together, as in evaluate")
    parser.add_argument("--T", default="20,200")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(measure(arguments.model, arguments.image_size, arguments.child, arguments.batch))
        return
    print(f"{arguments.model}, {arguments.image_size} px, batch {arguments.batch}")
    print("|   T | peak over idle, MiB | ratio to the first |\n| ---: | ---: | ---: |")
    first = None
    for T in map(int, arguments.T.split(",")):
        command = [sys.executable, __file__, "--child", str(T), "--model", arguments.model]
        command += ["--image-size", str(arguments.image_size), "--batch", str(arguments.batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        mib = float(done.stdout)
        first = first or mib
        print(f"| {T} | {mib:.1f} | {mib / first:.3f} |")


if __name__ == "__main__":
    main()

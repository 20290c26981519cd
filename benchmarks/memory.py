#!/usr/bin/env python3
"""Peak memory of simulating a converted network, above the loaded idle process, beside what is said before a run.

    python benchmarks/memory.py [--T 20,60,200] [--checkpoint FILE] [--backend native] [--mode exact] [--batch 4]

One child process per row and repetition, so that one row's peak cannot hide another's; the median is shown.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from subjects import child_environment, network, sample_images

from spikedet.snn import make_backend, simulate
from spikedet.snn.memory import estimate_bytes

REPEATS = 3


def peak_over_idle(warm_up: Callable[[], object], run: Callable[[], object]) -> int:
    """Bytes by which ``run`` raises the largest resident set over the idle process, libraries loaded by ``warm_up``."""
    warm_up()
    gc.collect()
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():  # no way to forget an earlier peak
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    ctypes.CDLL(None).malloc_trim(0)
    refs.write_text("5")
    before = _kib(status, "VmRSS")
    run()
    return (_kib(status, "VmHWM") - before) * 1024


def _kib(status: Path, field: str) -> int:
    return int(next(line for line in status.read_text().splitlines() if line.startswith(field)).split()[1])


def child(arguments: argparse.Namespace) -> str:
    """Peak and estimate of one run, bytes."""
    images = sample_images(arguments.data, arguments.batch, arguments.image_size)
    net, _ = network(arguments.checkpoint, arguments.model, images)
    backend = make_backend(net, arguments.backend, arguments.mode)
    said = estimate_bytes(backend, (images.shape[-2], images.shape[-1]), len(images))
    peak = peak_over_idle(
        lambda: list(simulate(net, images[:1, :, :64, :64], [1], backend=backend)),
        lambda: list(simulate(net, images, [arguments.child], backend=backend)),
    )
    return f"{peak} {said}"


def main() -> None:
    """One row per T."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--model", default="tiny-yolo")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4, help="images simulated together, as in evaluate")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--mode", default="exact")
    parser.add_argument("--T", default="20,60,200")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(child(arguments))
        return
    print(f"backend {arguments.backend}, {arguments.mode}, {arguments.image_size} px, batch {arguments.batch}")
    print("|   T | peak over idle, MiB | ratio to the first | said before, MiB |\n| ---: | ---: | ---: | ---: |")
    first = None
    for T in map(int, arguments.T.split(",")):
        command = [sys.executable, __file__, *sys.argv[1:], "--child", str(T)]
        environment = child_environment(torch.get_num_threads())
        made = [
            subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
            for _ in range(REPEATS)
        ]
        mib, said = (statistics.median(int(row[-2 + i]) for row in made) / 2**20 for i in (0, 1))
        first = first or mib
        print(f"| {T} | {mib:.1f} | {mib / first:.3f} | {said:.1f} |", flush=True)


if __name__ == "__main__":
    main()

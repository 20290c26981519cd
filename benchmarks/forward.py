"""Milliseconds of one forward pass of source ANNs, an image at a time, all in one run.

    python benchmarks/forward.py tiny-yolo-csp-voc-source tiny-yolo-csp-nano-voc-source [--size 320 416] [--threads 1]

Medians of rounds in which every network runs once, in float32 with torch's own convolutions, BN folded.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from spikedet.common.resources import find_weights
from spikedet.costs.synapses import network_macs
from spikedet.inference.network import spiking_graph
from spikedet.models import load_ann


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", help="checkpoints, or names of shipped weights")
    parser.add_argument("--size", nargs="*", type=int, help="input sizes; default: the checkpoint's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    subjects = []
    for name in args.networks:
        path = find_weights(name)
        model, meta = load_ann(path)
        model = model.eval().fuse(verbose=False).to(memory_format=torch.channels_last)
        graph, _ = spiking_graph(path)
        for size in args.size or [meta.image_size]:
            image = torch.rand(1, 3, size, size).contiguous(memory_format=torch.channels_last)
            subjects.append((path.stem, size, network_macs(graph, (size, size)), model, image))
    taken: list[list[float]] = [[] for _ in subjects]
    for number in range(args.rounds + 3):  # the first three warm up
        for times, (*_, model, image) in zip(taken, subjects, strict=True):
            begun = time.perf_counter()
            model(image)
            times += [1000 * (time.perf_counter() - begun)] if number > 2 else []
    print(f"| network, {args.threads} thread(s) | px | G multiply-accumulates | ms |\n| --- | ---: | ---: | ---: |")
    for times, (name, size, macs, *_) in zip(taken, subjects, strict=True):
        print(f"| {name} | {size} | {macs / 1e9:.2f} | {statistics.median(times):.1f} |")


if __name__ == "__main__":
    main()

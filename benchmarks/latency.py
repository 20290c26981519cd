#!/usr/bin/env python3
"""Frames per second of one camera frame at a time: letterbox, simulation, decoding and non-maximum suppression.

    python benchmarks/latency.py [--checkpoint runs/quickstart/joint.safetensors] [--image-size 320] [--T 8]

"last" waits for the output at T; "every step" takes the detections of each t as they come. Medians over the frames.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from subjects import CLASSES, network, sample_images

from spikedet import SpikingDetector
from spikedet.checkpoint import CheckpointMeta
from spikedet.config import SimulationConfig
from spikedet.inference.network import SnnNetwork


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Median of a call."""
    taken = []
    for _ in range(rounds + 3):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken[3:])


def main() -> None:
    """One row per mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="", help="a converted network; random weights without")
    parser.add_argument("--model", default="tiny-yolo-nano", help="without a checkpoint")
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--T", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--stable-steps", type=int, default=2, help="for the row with early exit")
    arguments = parser.parse_args()
    images = sample_images("synthetic", 1, arguments.image_size)
    net, what = network(arguments.checkpoint, arguments.model, images)
    net.T = arguments.T
    meta = CheckpointMeta("copied", what, {}, CLASSES, arguments.image_size, T=arguments.T, neuron="if")
    pixels = (images[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    frame = np.ascontiguousarray(np.kron(pixels, np.ones((2, 2, 1), np.uint8))[:480])  # as a camera's: it must shrink
    print(f"{what}; T = {arguments.T}, {arguments.image_size} px, {torch.get_num_threads()} threads")
    print("| mode | backend | output | ms | frames per second |\n| --- | --- | --- | ---: | ---: |")
    for how in (
        SimulationConfig(mode="exact", backend="torch"),
        SimulationConfig(mode="exact"),
        SimulationConfig(mode="fast"),
    ):
        made = SnnNetwork(net, dataclasses.replace(meta), how)
        detector = SpikingDetector(made)
        outputs: dict[str, Callable[[], object]] = {
            "last": lambda detector=detector: detector(frame),  # type: ignore[misc]
            "every step": lambda detector=detector: list(detector.stream(frame)),  # type: ignore[misc]
            f"stable for {arguments.stable_steps} steps": lambda detector=detector: list(  # type: ignore[misc]
                detector.stream(frame, stable_steps=arguments.stable_steps)
            ),
        }
        for output, work in outputs.items():
            ms = milliseconds(work, arguments.rounds)
            print(f"| {how.mode} | {made.backend.name} | {output} | {ms:.1f} | {1e3 / ms:.1f} |", flush=True)


if __name__ == "__main__":
    main()

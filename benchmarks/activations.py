#!/usr/bin/env python3
"""Activations in training: the compiled passes beside the torch code, forward and backward.

python benchmarks/activations.py [--rounds 20]

Prints one table; times are medians, ratios are of the same run. bfloat16 in channels-last memory, as training has them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest.mock import patch

import torch
from torch import Tensor

from spikedet.quantization import ClippedReLU, QCActivation, compiled
from spikedet.snn import CurrentLIF

SHAPES = ((16, 32, 160, 160), (16, 64, 80, 80), (16, 256, 20, 20))
"""``[N, C, H, W]`` of an early, a middle and a deep layer at 320 px."""


def measured_ms(activation: ClippedReLU, x: Tensor, rounds: int) -> tuple[float, float]:
    """Median forward and backward times."""
    times = []
    grad = torch.randn_like(x)
    for _ in range(rounds):
        activation.reset()
        leaf = x.clone().requires_grad_()
        started = time.perf_counter()
        out = activation(leaf)
        between = time.perf_counter()
        out.backward(grad)
        times.append((between - started, time.perf_counter() - between))
    forward, backward = (statistics.median(part) * 1e3 for part in zip(*times, strict=True))
    return forward, backward


def main() -> None:
    """Parse the flags and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    print(f"{torch.get_num_threads()} threads, ms forward + backward")
    print("| activation | shape | torch | compiled | ratio |\n| --- | --- | ---: | ---: | ---: |")
    for shape in SHAPES:
        x = torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last)
        if not compiled.applies(x):
            raise SystemExit("the kernels cannot be compiled here")
        for activation in (
            QCActivation(shape[1], T=4, noise=0.1),
            ClippedReLU(shape[1]),
            QCActivation(shape[1], T=4, noise=0.1, slope=0.1),
            ClippedReLU(shape[1], slope=0.1),
            CurrentLIF(shape[1]),
        ):
            ours = measured_ms(activation, x, rounds)
            with patch.object(compiled, "applies", lambda _: False):
                torchs = measured_ms(activation, x, rounds)
            cells = [f"{forward:.1f} + {backward:.1f}" for forward, backward in (torchs, ours)]
            name = type(activation).__name__ + (", leaky" if activation.slope else "")
            print(f"| {name} | {'x'.join(map(str, shape))} | {' | '.join(cells)} | {sum(torchs) / sum(ours):.1f} |")


if __name__ == "__main__":
    main()

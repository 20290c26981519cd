"""What a calibration will take, said before it starts."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import Tensor

from spikedet.calibration.coarse import SHIFTS, TRADED_ON
from spikedet.calibration.observer import peak_bytes
from spikedet.config import CalibrateConfig
from spikedet.snn import Readout, SpikingConv, SpikingNetwork, qc_forward

BACKWARD_FACTOR = 3.0
"""Cost of a training step over its forward convolution: weight gradient, neuron forward and backward, optimizer."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of cached spike trains and activations, bytes of the images, and seconds."""

    cache_bytes: int
    image_bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"about {self.cache_bytes / 2**20:.0f} MiB of cached spike trains, {self.image_bytes / 2**20:.0f} MiB of "
            f"images, at most {self.seconds / 60:.1f} minutes"
        )


def estimate(network: SpikingNetwork, images: Tensor, config: CalibrateConfig) -> Estimate:
    """Memory exactly (it follows from the shapes), time from the speed of one forward pass here and now."""
    shapes = network.shapes((images.shape[-2], images.shape[-1]))
    started = time.perf_counter()
    qc_forward(network, images[:2], network.T)
    seconds_per_image = (time.perf_counter() - started) / 2
    macs, cropped = 0.0, 0.0
    for node in network.nodes:
        if isinstance(node.module, (SpikingConv, Readout)):
            _, height, width = shapes[node.name]
            steps = 1 if isinstance(node.module, Readout) else network.T
            per_place = float(node.module.weight.numel()) * steps
            macs += per_place * height * width
            cropped += per_place * min(height, config.crop) * min(width, config.crop)
    speed = macs / network.T / seconds_per_image
    looks = 2 * macs * len(images)  # one to measure the rates, one to record the spikes
    if config.early:
        looks += 2 * len(SHIFTS) * macs * min(len(images), TRADED_ON)
    work = looks + (looks if config.fine else 0.0)  # the coarse network is made on its own first
    if config.fine:
        work += cropped * len(images) * config.epochs * BACKWARD_FACTOR
    return Estimate(peak_bytes(network, shapes, len(images)), images.numel() * images.element_size(), work / speed)


def probe_batch(network: SpikingNetwork, images: Tensor, budget_bytes: float = 256 * 2**20) -> int:
    """Images per simulation batch such that the largest layer's potentials fit the budget."""
    shapes = network.shapes((images.shape[-2], images.shape[-1]))
    largest = max(math.prod(shapes[node.name]) for node, _ in network.spiking()) * network.T * 4
    return max(1, int(budget_bytes // largest))

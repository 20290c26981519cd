"""What is said before a calibration starts."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from calibration_graphs import branching, sample_images, settings

from spikedet.calibration.estimate import estimate, probe_batch
from spikedet.calibration.observer import peak_bytes
from spikedet.snn import qc_forward


def test_bytes_follow_from_the_shapes() -> None:
    torch.manual_seed(0)
    network, images = branching(), sample_images(3)
    made = estimate(network, images, settings())
    values = qc_forward(network, images[:1], network.T)
    shapes = {node.name: tuple(values[node.name].shape[1:]) for node, _ in network.spiking()}
    assert made.cache_bytes == peak_bytes(network, shapes, 3)
    assert made.image_bytes == 3 * 3 * 8 * 8 * 4
    assert made.seconds > 0


def test_it_reads_as_a_sentence() -> None:
    torch.manual_seed(0)
    made = dataclasses.replace(
        estimate(branching(), sample_images(2), settings()), cache_bytes=3 * 2**20, image_bytes=2**20, seconds=90
    )
    assert re.fullmatch(r"about 3 MiB of cached spike trains, 1 MiB of images, (at most )?1\.5 minutes", str(made))


@pytest.mark.parametrize(("layers", "images_at_once"), [(1.0, 1), (3.5, 3), (0.1, 1)])
def test_a_batch_fills_the_budget_with_the_largest_layer(layers: float, images_at_once: int) -> None:
    """The largest layers are the stem, skip and last one: 4 channels of 4 x 4, T = 8 steps of float32."""
    torch.manual_seed(0)
    largest = 4 * 4 * 4 * 8 * 4
    assert probe_batch(branching(), sample_images(1), layers * largest) == images_at_once

"""Copies of the first layer's neurons: what they tell together, and what cannot have them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_detector import ARCHITECTURE, IMAGE_SIZE, detector

from spikedet.common.errors import ConfigError
from spikedet.models import activations, as_qc, build_detector, with_copies
from spikedet.quantization import qc_quantize


@pytest.mark.parametrize(("T", "copies"), [(1, 2), (2, 8), (4, 4), (8, 2), (3, 5)])
def test_together_they_tell_as_many_times_the_levels(T: int, copies: int) -> None:
    model = detector()
    wider, architecture = with_copies(model, ARCHITECTURE, copies, T)
    assert architecture["backbone"][0][3][0] == copies * ARCHITECTURE["backbone"][0][3][0]
    images = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    made = []
    for network in (model, wider):
        first: Any = network.model[0]
        made.append((first.bn(first.conv(images)).detach(), first.act.theta.detach()))
    (one, theta), (many, thetas) = made
    assert torch.equal(thetas, theta.repeat(copies))
    inside = one.clamp(min=0).minimum(theta.view(1, -1, 1, 1)) == one
    assert inside.float().mean() > 0.1
    together = qc_quantize(many, thetas, T).unflatten(1, (copies, -1)).mean(1)
    expected = qc_quantize(one, theta, copies * T)
    near = (together - expected).abs() < 1e-4 * theta.view(1, -1, 1, 1)
    assert near[inside].float().mean() > 0.999  # a float32 sum can fall on the other side of a step


def test_the_network_stays_the_same_up_to_a_level_of_the_first_layer() -> None:
    model, T = detector(), 64
    wider, _ = with_copies(model, ARCHITECTURE, 3, T)
    images = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        difference = (wider(images)[0] - model(images)[0]).abs()
        quantized = (as_qc(wider, T)(images)[0] - model(images)[0]).abs()
    assert float(difference.mean()) < float(quantized.mean()) + 0.05
    assert float(difference[:, 4:].max()) < 0.02
    assert len(list(activations(wider))) == len(list(activations(model)))


def test_what_cannot_have_copies_is_refused() -> None:
    other = copy.deepcopy(ARCHITECTURE)
    other["backbone"][0][2] = "Focus"
    with pytest.raises(ConfigError, match="a first layer of type Conv, got Focus"):
        with_copies(detector(), other, 2, 4)
    grouped = copy.deepcopy(ARCHITECTURE)
    channels = grouped["backbone"][0][3][0]
    grouped["backbone"][1] = [-1, 1, "Conv", [channels, 3, 2, None, channels]]
    model = build_detector(grouped, ("a", "b", "c", "d")).eval()
    with pytest.raises(ConfigError, match=r"model\.1\.conv\.weight: .* leave --copies out"):
        with_copies(model, grouped, 2, 4)

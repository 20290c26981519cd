"""MACs of the dense network against counters that are not ours, on models with every kind of layer.

Torch's and thop's counters run the whole detector, so they also count the fixed convolution of the head that turns box
distributions into distances (DFL, weights 0 to reg_max - 1, reg_max for each side of each cell): decoding, not a layer
of the network. thop adds two operations for every value of a batch normalization, which conversion folds away.
"""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_detector import IMAGE_SIZE, detector
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spikedet.conversion import to_spiking
from spikedet.costs.operations import layer_synapses
from spikedet.costs.pricing import Totals
from spikedet.costs.synapses import dense_macs
from spikedet.models import ClipDetector, build_detector, load_model_yaml
from spikedet.models.architecture import read_model_yaml
from spikedet.snn import SpikingConv


def models() -> dict[str, tuple[ClipDetector, int]]:
    """Name -> model and side of its input; strides, residual adds, splits, joins, pools, padding and upsampling."""
    made = {"tiny": (detector(), IMAGE_SIZE), "nano": (build_detector(load_model_yaml("tiny-yolo-nano"), ["a"]), 96)}
    for name in ("yolov8n.yaml", "yolov3-tiny.yaml"):
        made[name] = (build_detector(read_model_yaml(name, "clip")[0], ["a", "b"]), 64)
    return made


def macs(model: ClipDetector, side: int) -> int:
    return Totals.of(layer_synapses(to_spiking(model, 4), (side, side))).macs


def distances(model: ClipDetector, side: int) -> int:
    """MACs of the fixed convolution: reg_max for each of the four sides of every cell."""
    head = model.model[-1]
    cells = sum((side // int(stride)) ** 2 for stride in head.stride)
    return int(head.reg_max) * 4 * cells


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "nano", "yolov8n.yaml", "yolov3-tiny.yaml"])
def test_macs_are_those_of_torch_and_of_thop(name: str) -> None:
    model, side = models()[name]
    model.eval()
    x = torch.zeros(1, 3, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        model(x)
    ours = macs(model, side) + distances(model, side)
    assert counted.get_total_flops() == 2 * ours

    thop = pytest.importorskip("thop")
    normalized: list[int] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _module, _inputs, output: normalized.append(output.numel()))
    with torch.no_grad():
        model(x)
    total = thop.profile(copy.deepcopy(model), inputs=(x,), verbose=False)[0]
    assert total == ours + 2 * sum(normalized)


def test_macs_of_groups_and_strides() -> None:
    """A 3x3 convolution of 8 to 8 channels in 4 groups, stride 2, on 6 x 10: 15 places, 2 inputs to each output."""
    conv = nn.Conv2d(8, 8, 3, 2, 1, groups=4).requires_grad_(False)
    with FlopCounterMode(display=False) as counted:
        conv(torch.zeros(1, 8, 6, 10))
    layer = SpikingConv(conv.weight, torch.zeros(8), torch.ones(8), stride=(2, 2), padding=(1, 1), groups=4)
    assert dense_macs(layer, (8, 3, 5)) == 15 * 8 * 2 * 9 == counted.get_total_flops() / 2

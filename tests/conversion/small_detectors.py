"""Small detectors around one module each, with numbers that float32 holds exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spikedet.models import ClipDetector, activations, build_detector
from spikedet.snn import SpikingNetwork

Row = list[Any]
STEM: Row = [-1, 1, "Conv", [8, 3, 2]]
LINEAR: Row = [-1, 1, "Conv", [8, 1, 1, None, 1, 1, False]]
"""A convolution of 1 x 1 without activation."""
BOTTLENECK: tuple[Row, ...] = (
    [-1, 1, "Conv", [24, 1, 1]],
    [-1, 1, "DWConv", [24, 3, 1]],
    LINEAR,
    [[-1, -4], 1, "Add", []],
)
"""An inverted residual of MobileNetV2: wider, depthwise, narrow without activation, and the sum."""
SMALL_CSP: tuple[Row, ...] = (
    STEM,
    [-1, 1, "nn.MaxPool2d", [3, 2, 1]],
    [-1, 1, "Conv", [8, 3, 1]],  # 2
    [-1, 1, "Conv", [12, 3, 2]],
    [-1, 1, "Conv", [16, 3, 2]],
    [2, *LINEAR[1:]],  # 5
    [3, *LINEAR[1:]],
    [4, *LINEAR[1:]],  # p5
    [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
    [[6, 8], 1, "Add", []],  # 9  p4
    [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
    [[5, 10], 1, "Add", []],  # 11  p3
    [-1, 1, "nn.AvgPool2d", [2, 2, 0]],
    [[9, 12], 1, "Add", []],  # 13  q4
    [-1, 1, "nn.AvgPool2d", [2, 2, 0]],
    [[7, 14], 1, "Add", []],  # 15  q5
    [11, 1, "Conv", [8, 3, 1]],
    [13, 1, "Conv", [8, 3, 1]],
    [15, 1, "Conv", [8, 3, 1]],
)
"""The layers of tiny-yolo-csp, few and narrow; for ``DirectDetect`` on 16, 17 and 18, images a multiple of 16."""


def architecture(*backbone: Row, sources: tuple[int, ...] = (-1,), head: str = "Detect") -> dict[str, Any]:
    """These layers, then a ``head`` on ``sources``."""
    return {
        "nc": 2,
        "activation": "torch.nn.ReLU()",
        "reg_max": 4,
        "backbone": [list(row) for row in backbone],
        "head": [[list(sources), 1, head, ["nc"]]],
    }


def dyadic(*shape: int, low: int = -8, high: int = 8, over: int = 8) -> Tensor:
    """Random multiples of 1 / over in [low / over, high / over]."""
    return torch.randint(low, high + 1, shape).float() / over


def any_of(values: list[float], count: int) -> Tensor:
    return torch.tensor(values)[torch.randint(0, len(values), (count,))]


@torch.no_grad()
def dyadic_detector(*backbone: Row, sources: tuple[int, ...] = (-1,), head: str = "Detect") -> ClipDetector:
    """Weights, BN and thresholds are small multiples of powers of two, so folding and every sum are exact."""
    made = architecture(*backbone, sources=sources, head=head)
    model = build_detector(made, ("cell", "dot")).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.copy_(dyadic(*module.weight.shape, low=-2, high=3))
            if module.bias is not None:
                module.bias.copy_(dyadic(len(module.bias)))
        elif isinstance(module, nn.BatchNorm2d):
            channels = module.num_features
            module.eps = 0.0
            module.running_var.copy_(any_of([1.0, 4.0, 16.0], channels))  # type: ignore[union-attr]
            module.running_mean.copy_(dyadic(channels))  # type: ignore[union-attr]
            module.weight.copy_(dyadic(channels, low=2, high=8))
            module.bias.copy_(dyadic(channels, low=-2, high=6))
    for _, activation in activations(model):
        activation.set_theta(any_of([0.5, 1.0, 2.0], activation.log_theta.numel()))
        assert set(activation.theta.tolist()) <= {0.5, 1.0, 2.0}
    return model


@torch.no_grad()
def trained_like_(model: nn.Module) -> None:
    """BN statistics and thresholds as training could leave them, in place."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.3, 2)  # type: ignore[union-attr]
            if module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.1, 0.1)
    for _, activation in activations(model):
        activation.log_theta.uniform_(-0.5, 1.0)


def logits(network: SpikingNetwork, values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Box and class logits over all cells, ``[N, 4 R, A]`` and ``[N, classes, A]``, as Detect returns them."""
    boxes, classes = (
        torch.cat([values[name].flatten(2) for name in names], -1)
        for names in (network.box_readouts, network.class_readouts)
    )
    return boxes, classes

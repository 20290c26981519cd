"""NanoDet-g in plain torch, by the table of layers that its weights come with: the reference for ``tiny-yolo-csp``.

NanoDet is Apache-2.0; none of its code is here, the layers are written from their description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN = torch.tensor([103.53, 116.28, 123.675]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([57.375, 57.12, 58.395]).view(1, 3, 1, 1)
BLOCKS = (1, 2, 2, 3)
"""Residual blocks of each stage."""

Resize = Callable[[Tensor], Tensor]


def bilinear(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, C, 2 H, 2 W]``, as the original is."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def nearest(x: Tensor) -> Tensor:
    """``[N, C, H, W]`` -> ``[N, C, 2 H, 2 W]``, as spikes can be upsampled."""
    return F.interpolate(x, scale_factor=2.0)


def normalized_bgr(rgb: Tensor) -> Tensor:
    """RGB ``[N, 3, H, W]`` in [0, 1] as the network's input."""
    return (rgb.flip(1) * 255 - MEAN) / DEVIATION


def nanodet_g(weights: Mapping[str, Tensor], x: Tensor, up: Resize = bilinear) -> list[Tensor]:
    """Output maps ``[N, 124, H / s, W / s]`` for strides s = 8, 16, 32: 80 class logits, then four sides' 11 bins.

    Args:
        weights: float32 tensors by their names in the file.
        x: ``[N, 3, H, W]`` from ``normalized_bgr``.
        up: upsampling of the neck.
    """

    def conv(name: str, x: Tensor, stride: int = 1, linear: bool = False) -> Tensor:
        weight = weights[f"{name}.weight"]
        x = F.conv2d(x, weight, weights[f"{name}.bias"], stride, weight.shape[-1] // 2)
        return x if linear else F.leaky_relu(x, 0.1)

    x, stages = F.max_pool2d(conv("stem", x, 2), 3, 2, 1), []
    for stage, blocks in enumerate(BLOCKS, start=1):
        first = x = conv(f"stage{stage}.in", x, 1 if stage == 1 else 2)
        for block in range(blocks):
            a = conv(f"stage{stage}.res{block}.a", x)
            x = torch.cat([conv(f"stage{stage}.res{block}.b", a), a], 1)
        x = torch.cat([conv(f"stage{stage}.out", x), first], 1)
        stages.append(x)
    p3, p4, p5 = (conv(f"lateral{level}", stages[level - 2], linear=True) for level in (3, 4, 5))
    p4 = p4 + up(p5)
    p3 = p3 + up(p4)
    q4 = p4 + F.avg_pool2d(p3, 2)  # bilinear by 1/2 is the mean of 2 x 2 places
    q5 = p5 + F.avg_pool2d(q4, 2)
    maps = enumerate((p3, q4, q5), start=3)
    return [conv(f"head{level}.out", conv(f"head{level}.conv", x), linear=True) for level, x in maps]

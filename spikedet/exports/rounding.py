"""Weights in 8 bits with a scale for each output channel, by their rounding error alone: no images are needed.

Inputs are never negative and alike within a window, so what harms is less a weight's error than the sum of errors in a
kernel, and in an output channel. Weights are rounded to the nearest step, then those that are nearest to being rounded
the other way are, until no sum is beyond half a step. Source: Guo et al., "SQuant: On-the-Fly Data-Free Quantization
via Diagonal Hessian Approximation", 2022 (kernel-wise, then channel-wise).
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 127


def rounded_weight(weight: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as integers and scales, ``weight`` is about ``integers * scale``.

    Args:
        weight: ``[C, C_in, k, k]``.
        least: ``[C]``, smallest scales.

    Returns:
        ``[C, C_in, k, k]`` of whole numbers from -127 to 127, and ``[C]``, float64.
    """
    exact = weight.detach().double()
    scale = (exact.flatten(1).abs().amax(1) / LARGEST).maximum(least.double())
    scale = scale.float().double()  # as it is stored
    steps = exact / scale.view(-1, 1, 1, 1)
    rounded = steps.round()
    rounded = _balanced(rounded.flatten(2), steps.flatten(2)).view_as(exact)
    rounded = _balanced(rounded.flatten(1), steps.flatten(1)).view_as(exact)
    return rounded.clamp(-LARGEST, LARGEST), scale


def _balanced(rounded: Tensor, steps: Tensor) -> Tensor:
    """Move weights ``[..., K]`` by a step, those with the largest errors first, until their sum is the nearest one."""
    errors = rounded - steps
    total = errors.sum(-1, keepdim=True)
    towards = errors * total.sign()
    order = towards.argsort(-1, descending=True).argsort(-1)
    moved = (order < total.abs().round()) & (towards > 0)
    return torch.where(moved, rounded - total.sign(), rounded)

"""Batch normalization folded into the convolution before it (equation 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals ``norm(conv(x))`` with running statistics.

    Computed in float64 and rounded once to the weights' type. ``norm=None`` copies the convolution.

    Returns:
        weight ``[C, C_in / groups, k, k]`` and bias ``[C]``, new tensors.
    """
    weight = conv.weight.double()
    bias = conv.bias.double() if conv.bias is not None else weight.new_zeros(len(weight))
    if norm is not None:
        assert norm.running_mean is not None and norm.running_var is not None
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        shift = -norm.running_mean.double() * scale
        if norm.affine:
            scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
        weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale + shift
    return weight.to(conv.weight.dtype, copy=True), bias.to(conv.weight.dtype, copy=True)

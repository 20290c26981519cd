"""Batch normalization folded into the convolution before it (equation 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ConvAndNorm = tuple[nn.Conv2d, nn.BatchNorm2d | None]


@torch.no_grad()
def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals ``norm(conv(x))`` with running statistics.

    Computed in float64 and rounded once to the weights' type. ``norm=None`` copies the convolution.

    Returns:
        weight ``[C, C_in / groups, k, k]`` and bias ``[C]``, new tensors.
    """
    weight, bias = _folded(conv, norm)
    return weight.to(conv.weight.dtype, copy=True), bias.to(conv.weight.dtype, copy=True)


@torch.no_grad()
def fold_branches(
    square: ConvAndNorm, point: ConvAndNorm, identity: nn.BatchNorm2d | None = None
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals the sum of a RepConv's branches.

    A 1 x 1 kernel, and the identity (BN alone), are 3 x 3 kernels with zeros around. Computed in float64 and rounded
    once. Source: Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", 2021, section 3.3.

    Args:
        square: convolution of 3 x 3 and its BN.
        point: convolution of 1 x 1 and its BN, with the same stride and groups.
        identity: BN of the input itself.

    Returns:
        weight ``[C, C_in / groups, 3, 3]`` and bias ``[C]``, new tensors.
    """
    weight, bias = _folded(*square)
    point_weight, point_bias = _folded(*point)
    weight, bias = weight + F.pad(point_weight, (1, 1, 1, 1)), bias + point_bias
    if identity is not None:
        scale, shift = _scale_and_shift(identity)
        channel = torch.arange(len(scale))
        weight[channel, channel % weight.shape[1], 1, 1] += scale
        bias = bias + shift
    dtype = square[0].weight.dtype
    return weight.to(dtype), bias.to(dtype)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor]:
    """Weight and bias in float64."""
    weight = conv.weight.double()
    bias = conv.bias.double() if conv.bias is not None else weight.new_zeros(len(weight))
    if norm is None:
        return weight, bias
    scale, shift = _scale_and_shift(norm)
    return weight * scale.view(-1, 1, 1, 1), bias * scale + shift


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """``norm(x) = scale x + shift``, float64 ``[C]`` each."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    return scale, shift

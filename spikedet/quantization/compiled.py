"""The activations' forward and backward passes in C++: one pass over memory where torch takes seven.

Outputs and gradients of x are those of the torch code bit by bit; theta's gradient is summed in another order.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from spikedet.kernels.library import STORED, available, call, fields, pointer

TYPES = {getattr(torch, name): name for name in STORED}


class _Activation(ctypes.Structure):
    _fields_ = fields("places channels levels *theta ~slope")


def applies(x: Tensor) -> bool:
    """Whether the compiled passes take this tensor: ``[N, C, H, W]`` in channels-last memory on the CPU."""
    return (
        x.device.type == "cpu"
        and x.ndim == 4
        and x.dtype in TYPES
        and x.is_contiguous(memory_format=torch.channels_last)
        and available()
    )


def quantize_clip(x: Tensor, theta: Tensor, T: int, kept: Tensor | None, slope: float = 0.0) -> tuple[Tensor, Tensor]:
    """g(x) and the bool mask of where its gradient passes.

    Args:
        x: as in ``applies``.
        theta: ``[C]`` or ``[1]``.
        T: quantization levels.
        kept: bool mask of x's shape, True where a value is not quantized.
        slope: of the LeakyReLU; 0 is ReLU.
    """
    out, inside = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
    mask = None if kept is None else kept.contiguous(memory_format=torch.channels_last)
    _call("quantize_clip", x, theta, T, slope, x, mask, out, inside)
    return out, inside


def quantize_clip_backward(
    grad: Tensor, x: Tensor, out: Tensor, inside: Tensor, theta: Tensor, T: int, slope: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Gradients of x and theta, from that of g(x)."""
    grad_x, grad_theta = torch.empty_like(x), torch.empty(x.shape[1])
    _call("quantize_clip_backward", x, theta, T, slope, _like(grad, x), x, out, inside, grad_x, grad_theta)
    return grad_x, summed_as(grad_theta, theta)


def clip(x: Tensor, theta: Tensor, slope: float = 0.0) -> Tensor:
    """clip(x, 0, theta), with a slope clip(LeakyReLU(x), -theta, theta); theta is rounded to the type of x."""
    out = torch.empty_like(x)
    _call("clip", x, theta.to(x.dtype), 0, slope, x, out)
    return out


def clip_backward(grad: Tensor, x: Tensor, theta: Tensor, slope: float = 0.0) -> tuple[Tensor, Tensor]:
    """Gradients of x and theta, from that of the clipped values."""
    grad_x, grad_theta = torch.empty_like(x), torch.empty(x.shape[1])
    _call("clip_backward", x, theta.to(x.dtype), 0, slope, _like(grad, x), x, grad_x, grad_theta)
    return grad_x, summed_as(grad_theta, theta)


def _call(name: str, x: Tensor, theta: Tensor, levels: int, slope: float, *tensors: Tensor | None) -> None:
    batch, channels, height, width = x.shape
    limits = spread(theta, channels)
    shape = _Activation(batch * height * width, channels, levels, pointer(limits), slope)
    call(f"{name}_{TYPES[x.dtype]}", shape, *tensors)


def _like(grad: Tensor, x: Tensor) -> Tensor:
    return grad.to(x.dtype).contiguous(memory_format=torch.channels_last)


def spread(theta: Tensor, channels: int) -> Tensor:
    """``[C]`` or ``[1]`` -> ``[channels]`` in float32, as the kernels read it."""
    return theta.detach().float().expand(channels).contiguous()


def summed_as(grad_theta: Tensor, theta: Tensor) -> Tensor:
    """The gradient ``[channels]`` of what was spread, in the shape and type of ``theta``."""
    return (grad_theta if theta.numel() > 1 else grad_theta.sum(0, keepdim=True)).view_as(theta).to(theta.dtype)

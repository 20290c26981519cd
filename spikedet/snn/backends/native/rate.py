"""Calibration's neurons, compiled: the mean spikes of a window and their surrogate gradient, one pass each."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from spikedet.kernels.library import call, fields, pointer


class _RateWindow(ctypes.Structure):
    _fields_ = fields("steps constant delay is_signed places channels *v *u0 *theta *lower")


class NativeRate(torch.autograd.Function):
    """``fire(...).mean(0)`` of ``spikedet.snn.surrogate`` and its gradient, for float32 on the CPU.

    Takes v ``[T or 1, N, C, H, W]``, u0 ``[1, C, 1, 1]``, theta ``[C]``, the negative thresholds ``[C]`` if the
    neuron is asymmetric, the number of steps T, whether it is signed, and the delay; returns ``[N, C, H, W]``.
    """

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, u0: Tensor, theta: Tensor, lower: Tensor | None, steps: int, signed: bool, delay: int
    ) -> Tensor:
        rows = [_channels_last(v), u0.detach().flatten().contiguous(), theta.contiguous()]
        rows += [] if lower is None else [lower.contiguous()]
        shape = rows[0].shape[1:]
        assert all(row.shape == shape[-1:] for row in rows[1:])  # kernels look at no size again
        rate = torch.empty(shape)
        slopes = torch.empty((steps, *shape), dtype=torch.uint8)
        sizes = (steps, int(len(v) != steps), delay, int(signed), shape[:3].numel(), shape[3])
        window = _RateWindow(*sizes, *map(pointer, rows))  # no lower: null
        call("rate", window, rate, slopes)
        ctx.save_for_backward(slopes, *rows[2:])
        ctx.sizes, ctx.v_shape, ctx.u0_shape = sizes, rows[0].shape, u0.shape
        return rate.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes, *rows = ctx.saved_tensors
        grad_rate = _channels_last(grads[0])
        grad_v, grad_u = torch.empty(ctx.v_shape), torch.empty(ctx.v_shape[1:])
        window = _RateWindow(*ctx.sizes, None, None, *map(pointer, rows))
        call("rate_backward", window, grad_rate, slopes, grad_v, grad_u)
        grad_u0 = grad_u.permute(0, 3, 1, 2).sum_to_size(ctx.u0_shape)
        return grad_v.permute(0, 1, 4, 2, 3), grad_u0, None, None, None, None, None


def _channels_last(x: Tensor) -> Tensor:
    """``[..., C, H, W]`` as contiguous ``[..., H, W, C]``."""
    return x.detach().movedim(-3, -1).contiguous()

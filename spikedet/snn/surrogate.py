"""Surrogate gradients: multi-step firing for calibration by BPTT through one layer, and spikes for direct training.

Forward: the exact spikes of ``functional.py`` over a window of T steps after ``delay`` steps of integration.
Backward (equations 20 and 21), with h the rectangle of width theta and height 1 / theta around each threshold:

    dL/du[t] = h(u[t]) dL/ds[t] + dL/du[t+1] (1 - theta h(u[t])),      dL/dv[t] = dL/du[t],     dL/du[0] = dL/du[1]

A signed neuron has a second rectangle around 0, open only where its spike count is positive. An asymmetric one has a
second rectangle around -theta / slope, 1 / slope times as wide and slope times as high; its reset is theta / slope, so
that reset times height is the same at both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikedet.config import Surrogate
from spikedet.kernels.library import available
from spikedet.snn.backends.native.rate import NativeRate
from spikedet.snn.functional import Firing, asymmetric_if_step, fires, if_step, signed_if_step

Shape = Callable[[Tensor, float], Tensor]
"""``(z, width) -> ds / dz``, z the distance from the threshold in units of theta."""


def _rectangle(z: Tensor, width: float) -> Tensor:
    return (z.abs() < width / 2).to(z.dtype) / width


def _triangle(z: Tensor, width: float) -> Tensor:
    return (1 - z.abs() / width).clamp_min(0) / width


def _sigmoid(z: Tensor, width: float) -> Tensor:
    open_ = torch.sigmoid(z * (4 / width))
    return open_ * (1 - open_) * (4 / width)


def _arctan(z: Tensor, width: float) -> Tensor:
    return 1 / ((z * (math.pi / width)).square() + 1) / width


SHAPES: dict[Surrogate, Shape] = {
    "rectangle": _rectangle,
    "triangle": _triangle,
    "sigmoid": _sigmoid,
    "arctan": _arctan,
}
"""Shapes of a surrogate gradient, by name. Each has height 1 / width at the threshold and area 1.

Rectangle: Wu et al., 2018. Triangle: Bellec et al., 2018. Sigmoid: of slope 4 / width, Zenke and Ganguli, 2018. Arctan:
Fang et al., 2021, whose alpha is 2 / width.
"""


def firing(surrogate: Surrogate, width: float) -> Firing:
    """Spikes ``(v, theta) -> {0, 1}`` with a surrogate gradient, for ``clif_step``.

    ds / dv = h((v - theta) / theta) / theta and ds / dtheta = -v / theta ds / dv, as s depends on v / theta alone.

    Args:
        surrogate: name of the shape h, see ``SHAPES``.
        width: of the shape, in units of theta.
    """
    return functools.partial(_Spike.apply, SHAPES[surrogate], width)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shape: Shape, width: float, v: Tensor, theta: Tensor) -> Tensor:
        ctx.save_for_backward(v, theta)
        ctx.shape, ctx.width = shape, width
        return fires(v, theta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        v, theta = ctx.saved_tensors
        ratio = v / theta
        grad_v = grads[0] * ctx.shape(ratio - 1, ctx.width) / theta
        grad_theta = -(grad_v * ratio).sum_to_size(theta.shape) if ctx.needs_input_grad[3] else None
        return None, None, grad_v.sum_to_size(v.shape), grad_theta


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, v: Tensor, u0: Tensor, theta: Tensor, lower: Tensor | None, signed: bool, delay: int
    ) -> Tensor:
        steps, tail = v.shape[0], [v.new_zeros(v.shape[1:])] * delay
        u = u0.expand(v.shape[1:]).clone()
        count = torch.zeros_like(u)
        spikes, slopes = [], []
        for t, current in enumerate([*v, *tail]):
            before = u + current
            if t < delay:
                u = before
                continue
            slope = ((before - theta).abs() < theta / 2).to(v.dtype)
            if lower is not None:
                below = ((before - lower).abs() < theta / 2 * (-lower / theta)) & (slope == 0)
                slope = torch.where(below, -theta / lower, slope)
                fired, u = asymmetric_if_step(current, u, theta, lower)
            elif signed:
                slope = torch.maximum(slope, ((before.abs() < theta / 2) & (count > 0)).to(v.dtype))
                fired, u, count = signed_if_step(current, u, count, theta)
            else:
                fired, u = if_step(current, u, theta)
            spikes.append(fired)
            slopes.append(slope)
        ctx.save_for_backward(torch.stack(slopes), theta)
        ctx.steps, ctx.delay, ctx.u0_shape = steps, delay, u0.shape
        return torch.stack(spikes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes, theta = ctx.saved_tensors
        (grad,) = grads
        height = 1.0 / theta
        grad_u = torch.zeros_like(grad[0])
        grad_v = grad.new_zeros((ctx.steps, *grad.shape[1:]))
        for t in range(ctx.steps + ctx.delay - 1, -1, -1):
            if t >= ctx.delay:
                slope = slopes[t - ctx.delay] * height
                kept = 1.0 - theta * height * (slope != 0)
                grad_u = slope * grad[t - ctx.delay] + grad_u * kept
            if t < ctx.steps:
                grad_v[t] = grad_u
        return grad_v, grad_u.sum_to_size(ctx.u0_shape), None, None, None, None


def fire(
    v: Tensor,
    u0: Tensor,
    theta: Tensor,
    *,
    signed: bool = False,
    lower: Tensor | None = None,
    delay: int = 0,
) -> Tensor:
    """Spikes of one layer over its window, differentiable in the input and the initial potential.

    Args:
        v: ``[T, N, C, H, W]`` input potentials; zero after the window while a delayed neuron still fires.
        u0: initial potential, broadcastable to ``[N, C, H, W]``.
        theta: threshold, broadcastable likewise.
        signed: signed IF instead of IF.
        lower: negative thresholds of asymmetric IF, broadcastable likewise.
        delay: steps integrated before the first firing decision.

    Returns:
        ``[T, N, C, H, W]`` spikes in {0, 1} (signed, asymmetric: {-1, 0, 1}).
    """
    return _Fire.apply(v, u0, theta, lower, signed, delay)


def rate(
    v: Tensor,
    u0: Tensor,
    theta: Tensor,
    T: int,
    *,
    signed: bool = False,
    lower: Tensor | None = None,
    delay: int = 0,
) -> Tensor:
    """Mean spikes of one layer over its window: ``fire(...).mean(0)``, compiled where it can be.

    Args:
        v: ``[T, N, C, H, W]`` input potentials, or ``[1, N, C, H, W]`` if they never change.
        u0: ``[1, C, 1, 1]`` initial potential.
        theta: ``[C]`` thresholds.
        T: number of steps.
        signed, delay: see ``fire``.
        lower: ``[C]``, see ``fire``.

    Returns:
        ``[N, C, H, W]``.

    Raises:
        ValueError: v has neither one step nor T.
    """
    if len(v) not in (1, T):
        raise ValueError(f"potentials of 1 or T = {T} steps expected, got {len(v)}")
    if v.device.type == "cpu" and v.dtype == torch.float32 and available():
        return NativeRate.apply(v, u0, theta, lower, T, signed, delay)
    steps = v.expand(T, *v.shape[1:])
    theta, lower = theta.view(1, -1, 1, 1), None if lower is None else lower.view(1, -1, 1, 1)
    return fire(steps, u0, theta, signed=signed, lower=lower, delay=delay).mean(0)

"""The activations of the source ANN and of the QC-ANN.

    sigma_theta(x) = clip(x, 0, theta)                                  source ANN (section VI-A, third approach)
    g(x) = theta * clip(floor(x T / theta + 1/2) / T, 0, 1)             QC-ANN (equation 12, in activation units)

Rounding is half up, as an IF neuron with u[0] = theta / 2 fires; the 1/2 is the paper's shift theta / (2T).
With a slope (LeakyReLU, equation 22) negative values count too:

    sigma_theta(x) = clip(LeakyReLU(x), -theta, theta)
    g(x) = -theta clip(floor(-slope (x T / theta + 1/2)) / T, 0, 1)     for x < 0

and (T - 1) / T in place of 1 where -slope (x / theta + 1/2) < 1: which is what an asymmetric neuron with
u[0] = theta / 2 fires, once a step at most and from the other side.
theta = exp(log_theta) is positive by construction. Source: Wang et al., "Towards High-accuracy and Low-latency Spiking
Neural Networks with Two-Stage Optimization", equations 10 to 15.
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from spikedet.quantization import compiled


def per_channel(values: Tensor, ndim: int = 4) -> Tensor:
    """View ``[C]`` (or ``[1]``) so that it broadcasts over ``[N, C, H, W]``; other shapes get a leading batch axis."""
    return values.view(1, -1, *[1] * (ndim - 2)) if values.ndim <= 1 else values.unsqueeze(0)


class _QuantizeClip(torch.autograd.Function):
    """g with the straight-through gradient of equation 13: ordinary through clip and theta, 1 through floor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, T: int, slope: float, kept: Tensor | None, waits: bool) -> Tensor:
        ctx.slope, ctx.T = slope, T
        ctx.compiled = compiled.applies(x) and not (waits and slope)
        if ctx.compiled:
            out, inside = compiled.quantize_clip(x, theta, T, kept, slope)
            inside = _between_levels(x, theta, slope) if waits else inside
            ctx.save_for_backward(x, out, inside, theta)
            return out
        # x may be bfloat16 under autocast; 8 bits of mantissa would move the rounding boundaries, so round in float32.
        scale = per_channel(T / theta.float(), x.ndim)
        scaled = x.float() * scale
        rounded = torch.floor(scaled + 0.5)
        if slope:
            below = torch.floor(-slope * (scaled + 0.5))
            if not waits:
                below = below.minimum(torch.floor(-slope * (scaled / T + 0.5)).add_(T - 1))
            below.clamp_min_(0)
            rounded = torch.where(scaled < 0, -below, rounded)
            scaled = torch.where(scaled < 0, slope * scaled, scaled)
        if kept is not None:
            rounded = torch.where(kept, scaled, rounded)
        inside = (rounded >= (-T if slope else 0)) & (rounded <= T)
        inside = _between_levels(x, theta, slope) if waits else inside
        out = (rounded.clamp_(-T if slope else 0, T) / scale).to(x.dtype)
        ctx.save_for_backward(x, out, inside, theta)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, out, inside, theta = ctx.saved_tensors
        (grad,) = grads
        if ctx.compiled:
            found = compiled.quantize_clip_backward(grad, x, out, inside, theta, ctx.T, ctx.slope)
            return *found, None, None, None, None
        grad_x = grad * inside
        if ctx.slope:
            grad_x = torch.where(x < 0, ctx.slope * grad_x, grad_x)
        # g is homogeneous: d g / d theta = (g - x d g / d x) / theta
        weighted = torch.addcmul((grad * out).float(), grad_x.float(), x.float(), value=-1.0)
        over = [d for d in range(x.ndim) if d != 1] if theta.numel() > 1 else list(range(x.ndim))
        grad_theta = (weighted.sum(over) / theta.float()).view_as(theta).to(theta.dtype)
        return grad_x, grad_theta, None, None, None, None


def _between_levels(x: Tensor, theta: Tensor, slope: float) -> Tensor:
    """Where x is within the range of g: from 0, or from -theta / slope, to theta."""
    limit = per_channel(theta, x.ndim)
    return (x >= (-limit / slope if slope else 0)) & (x <= limit)


class _Clip(torch.autograd.Function):
    """sigma_theta with its ordinary gradient; one pass in each direction, theta's gradient summed in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x, theta)
        ctx.slope = slope
        ctx.compiled = compiled.applies(x)
        if ctx.compiled:
            return compiled.clip(x, theta, slope)
        limit = per_channel(theta, x.ndim).to(x.dtype)
        if not slope:
            return torch.minimum(x.clamp_min(0), limit)
        return torch.maximum(torch.minimum(torch.where(x < 0, slope * x, x), limit), -limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, theta = ctx.saved_tensors
        (grad,) = grads
        if ctx.compiled:
            return *compiled.clip_backward(grad, x, theta, ctx.slope), None
        limit = per_channel(theta, x.ndim).to(x.dtype)
        above = x > limit
        over = [d for d in range(x.ndim) if d != 1] if theta.numel() > 1 else list(range(x.ndim))
        if not ctx.slope:
            grad_theta = (grad * above).sum(over, dtype=torch.float32)
            return grad * ((x > 0) & ~above), grad_theta.view_as(theta).to(theta.dtype), None
        below = ctx.slope * x < -limit
        grad_theta = (grad * above).sum(over, dtype=torch.float32) - (grad * below).sum(over, dtype=torch.float32)
        passed = torch.where(x > 0, grad, ctx.slope * grad) * ~(above | below)
        return passed, grad_theta.view_as(theta).to(theta.dtype), None


def random_mask(x: Tensor, fraction: float) -> Tensor:
    """Bool mask of x's shape and memory order, each element True with this probability, to one part in 65,536.

    Four elements share a random number.
    """
    count = x.numel()
    words = torch.randint(-(2**63), 2**63 - 1, ((count + 3) // 4,), dtype=torch.int64, device=x.device)
    drawn, highest = words.view(torch.int16)[:count], round(fraction * 2**16) - 2**15 - 1
    chosen = drawn <= highest if highest >= -(2**15) else torch.zeros_like(drawn, dtype=torch.bool)
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        batch, channels, height, width = x.shape
        return chosen.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return chosen.view(x.shape)


def qc_quantize(
    x: Tensor,
    theta: Tensor,
    T: int,
    kept: Tensor | None = None,
    *,
    slope: float = 0.0,
    waits: bool = False,
) -> Tensor:
    """g(x), differentiable in x and theta.

    Args:
        x: ``[N, C, ...]`` pre-activations.
        theta: ``[C]`` or ``[1]``, positive, in activation units.
        T: number of quantization levels above zero (time steps of the SNN to come).
        kept: optional bool mask of x's shape, True where an element is left unquantized (quantization noise,
            equation 14; the paper's equation read literally says the opposite of its text).
        slope: of the LeakyReLU; 0 is ReLU.
        waits: of neurons that wait for all their input (SFA): T negative spikes are as likely as T positive ones, and
            the gradient passes from 0 to theta only, not half a level beyond.
    """
    return _QuantizeClip.apply(x, theta, T, slope, kept, waits)


def leaky_clip(x: Tensor, theta: Tensor, slope: float = 0.0) -> Tensor:
    """sigma_theta(x), differentiable in x and theta; clip(LeakyReLU(x), -theta, theta) with a slope.

    Args:
        x: ``[N, C, ...]``.
        theta: ``[C]`` or ``[1]``.
        slope: of the LeakyReLU; 0 is ReLU.
    """
    return _Clip.apply(x, theta, slope)


class ClippedReLU(nn.Module):
    """sigma_theta(x) = clip(x, 0, theta) with trained theta, one per channel.

    Args:
        channels: number of channels C; with 1, one theta is that of all channels.
        theta: initial threshold in activation units.
        slope: of the LeakyReLU that is clipped to [-theta, theta]; 0 is ReLU.

    Attributes:
        worth: factor of the output; 1 but in networks of integer training whose spikes are worth theta / D.

    Shape:
        ``[N, C, H, W]`` -> the same.
    """

    worth = 1.0

    def __init__(self, channels: int = 1, theta: float = 4.0, slope: float = 0.0) -> None:
        super().__init__()
        self.log_theta = nn.Parameter(torch.full((channels,), math.log(theta)))
        self.slope = slope

    @classmethod
    def from_clip(cls, clip: ClippedReLU, **settings: Any) -> Self:
        """An activation of this class that starts at the theta of ``clip`` (its own copy), with these settings."""
        made = cls(clip.log_theta.numel(), slope=clip.slope, **settings)
        made.log_theta = nn.Parameter(clip.log_theta.detach().clone())
        return made.let_be_worth_(clip.worth).to(clip.log_theta.device).train(clip.training)

    @property
    def theta(self) -> Tensor:
        """``[C]`` or ``[1]``, positive by construction."""
        return self.log_theta.exp()

    def set_theta(self, theta: Tensor) -> None:
        """Overwrite theta in place; one theta of all channels becomes one per channel if ``theta`` has C values."""
        self.log_theta = nn.Parameter(theta.detach().clamp_min(1e-8).log().to(self.log_theta))

    def let_be_worth_(self, worth: float) -> Self:
        """Set ``worth`` in place."""
        self.worth = worth
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self._valued(leaky_clip(x, self.theta, self.slope))

    def _valued(self, output: Tensor) -> Tensor:
        return output if self.worth == 1 else output * self.worth

    def reset(self) -> None:
        """Forget what was before; this activation remembers nothing."""

    def extra_repr(self) -> str:
        leaky = f", slope={self.slope:g}" if self.slope else ""
        return f"channels={self.log_theta.numel()}, theta={float(self.theta.detach().mean()):.4g}{leaky}"


class Unclipped(ClippedReLU):
    """A convolution without activation whose output has no neurons: it stays as it is, and theta is kept unused.

    Shape:
        ``[N, C, H, W]`` -> the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self._valued(x)


class QCActivation(ClippedReLU):
    """g(x) with trained theta and, in training, quantization noise.

    Args:
        channels: as ``ClippedReLU``.
        theta: initial threshold.
        slope: as ``ClippedReLU``.
        T: time steps, at least 1.
        noise: fraction p of the elements left unquantized in a training forward; 0 at evaluation.
    """

    def __init__(
        self, channels: int = 1, theta: float = 4.0, slope: float = 0.0, *, T: int, noise: float = 0.0
    ) -> None:
        super().__init__(channels, theta, slope)
        if T < 1:
            raise ValueError(f"T must be at least 1, got {T}")
        if not 0.0 <= noise <= 1.0:
            raise ValueError(f"the quantization noise p is a fraction in [0, 1], got {noise}")
        self.T = T
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        kept = random_mask(x, self.noise) if self.training and self.noise > 0 else None
        return self._valued(qc_quantize(x, self.theta, self.T, kept, slope=self.slope))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, T={self.T}, noise={self.noise}"

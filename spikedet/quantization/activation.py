"""The activations of the source ANN and of the QC-ANN.

    sigma_theta(x) = clip(x, 0, theta)                                  source ANN (section VI-A, third approach)
    g(x) = theta * clip(floor(x T / theta + 1/2) / T, 0, 1)             QC-ANN (equation 12, in activation units)

Rounding is half up, as an IF neuron with u[0] = theta / 2 fires; the 1/2 is the paper's shift theta / (2T).
theta = exp(log_theta) is positive by construction. Source: Wang et al., "Towards High-accuracy and Low-latency Spiking
Neural Networks with Two-Stage Optimization", equations 10 to 15.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def per_channel(values: Tensor, ndim: int = 4) -> Tensor:
    """View ``[C]`` (or ``[1]``) so that it broadcasts over ``[N, C, H, W]``; other shapes get a leading batch axis."""
    return values.view(1, -1, *[1] * (ndim - 2)) if values.ndim <= 1 else values.unsqueeze(0)


class _QuantizeClip(torch.autograd.Function):
    """g with the straight-through gradient of equation 13: ordinary through clip and theta, 1 through floor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor, T: int, kept: Tensor | None, answer: Tensor | None) -> Tensor:
        # x may be bfloat16 under autocast; 8 bits of mantissa would move the rounding boundaries, so round in float32.
        scale = per_channel(T / theta.float(), x.ndim)
        scaled = x.float() * scale
        rounded = torch.floor(scaled + 0.5)
        if kept is not None:
            rounded = torch.where(kept, scaled, rounded)
        inside = (rounded >= 0) & (rounded <= T)
        out = (rounded.clamp_(0, T) / scale if answer is None else answer).to(x.dtype)
        ctx.save_for_backward(x, out, inside, theta)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, out, inside, theta = ctx.saved_tensors
        (grad,) = grads
        grad_x = grad * inside
        # d g / d theta = g / theta - [inside] x / theta
        weighted = torch.addcmul((grad * out).float(), grad_x.float(), x.float(), value=-1.0)
        over = [d for d in range(x.ndim) if d != 1] if theta.numel() > 1 else list(range(x.ndim))
        grad_theta = (weighted.sum(over) / theta.float()).view_as(theta).to(theta.dtype)
        return grad_x, grad_theta, None, None, None


class _Clip(torch.autograd.Function):
    """sigma_theta with its ordinary gradient; one pass in each direction, theta's gradient summed in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor) -> Tensor:
        ctx.save_for_backward(x, theta)
        return torch.minimum(x.clamp_min(0), per_channel(theta, x.ndim).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, theta = ctx.saved_tensors
        (grad,) = grads
        above = x > per_channel(theta, x.ndim).to(x.dtype)
        over = [d for d in range(x.ndim) if d != 1] if theta.numel() > 1 else list(range(x.ndim))
        grad_theta = (grad * above).sum(over, dtype=torch.float32).view_as(theta).to(theta.dtype)
        return grad * ((x > 0) & ~above), grad_theta


def random_mask(shape: Sequence[int], fraction: float, device: torch.device) -> Tensor:
    """Bool mask, each element True with this probability, to one part in 65,536; four elements per random number."""
    count = math.prod(shape)
    words = torch.randint(-(2**63), 2**63 - 1, ((count + 3) // 4,), dtype=torch.int64, device=device)
    mask: Tensor = words.view(torch.int16)[:count].view(*shape).int() < round(fraction * 2**16) - 2**15
    return mask


def qc_quantize(x: Tensor, theta: Tensor, T: int, kept: Tensor | None = None, answer: Tensor | None = None) -> Tensor:
    """g(x), differentiable in x and theta.

    Args:
        x: ``[N, C, ...]`` pre-activations.
        theta: ``[C]`` or ``[1]``, positive, in activation units.
        T: number of quantization levels above zero (time steps of the SNN to come).
        kept: optional bool mask of x's shape, True where an element is left unquantized (quantization noise,
            equation 14; the paper's equation read literally says the opposite of its text).
        answer: optional values of x's shape to answer instead of g(x), with g's gradient (firing rates).
    """
    result: Tensor = _QuantizeClip.apply(x, theta, T, kept, answer)
    return result


class ClippedReLU(nn.Module):
    """sigma_theta(x) = clip(x, 0, theta) with trained theta, one per channel or one per layer.

    Args:
        channels: number of channels C; ``theta_per="layer"`` callers pass 1.
        theta: initial threshold in activation units.

    Shape:
        ``[N, C, H, W]`` -> the same.
    """

    def __init__(self, channels: int = 1, theta: float = 4.0) -> None:
        super().__init__()
        self.log_theta = nn.Parameter(torch.full((channels,), math.log(theta)))

    @property
    def theta(self) -> Tensor:
        """``[C]`` or ``[1]``, positive by construction."""
        return self.log_theta.exp()

    def set_theta(self, theta: Tensor) -> None:
        """Overwrite theta in place; a per-layer activation becomes per-channel if ``theta`` has C values."""
        self.log_theta = nn.Parameter(theta.detach().clamp_min(1e-8).log().to(self.log_theta))

    def forward(self, x: Tensor) -> Tensor:
        clipped: Tensor = _Clip.apply(x, self.theta)
        return clipped

    def extra_repr(self) -> str:
        return f"channels={self.log_theta.numel()}, theta={float(self.theta.detach().mean()):.4g}"


class QCActivation(ClippedReLU):
    """g(x) with trained theta and, in training, quantization noise.

    Args:
        channels: as ``ClippedReLU``.
        theta: initial threshold.
        T: time steps, at least 1.
        noise: fraction p of the elements left unquantized in a training forward; 0 at evaluation.

    Attributes:
        answer: what the next forward answers instead of g(x), once; its gradient stays that of g.
    """

    answer: Tensor | None = None

    def __init__(self, channels: int = 1, theta: float = 4.0, *, T: int, noise: float = 0.0) -> None:
        super().__init__(channels, theta)
        if T < 1:
            raise ValueError(f"T must be at least 1, got {T}")
        if not 0.0 <= noise <= 1.0:
            raise ValueError(f"the quantization noise p is a fraction in [0, 1], got {noise}")
        self.T = T
        self.noise = noise

    @classmethod
    def from_clip(cls, clip: ClippedReLU, *, T: int, noise: float = 0.0) -> QCActivation:
        """A QC activation that starts at the theta of ``clip`` (its own copy)."""
        made = cls(clip.log_theta.numel(), T=T, noise=noise)
        made.log_theta = nn.Parameter(clip.log_theta.detach().clone())
        return made.to(clip.log_theta.device).train(clip.training)

    def forward(self, x: Tensor) -> Tensor:
        kept, answer = None, self.answer
        self.answer = None
        if self.training and self.noise > 0 and answer is None:
            kept = random_mask(x.shape, self.noise, x.device)
        return qc_quantize(x, self.theta, self.T, kept, answer)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, T={self.T}, noise={self.noise}"

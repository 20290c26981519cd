"""The neurons as pure steps ``(input, state) -> (spikes, state)``.

IF with soft reset (equations 2 to 4):
    u <- u + v[t];   s = 1 if u >= theta else 0;   u <- u - theta s
Signed IF: as IF, and s = -1 if u < 0 and the neuron's spike count so far is positive; u <- u + theta then.
Asymmetric IF, for LeakyReLU (section VI-F, equation 22): as IF, and s = -1 if u <= -theta / slope; then
u <- u + theta / slope, so that a negative potential counts ``slope`` times as much.

All tensors broadcast; ``v`` and ``u`` are ``[N, C, H, W]`` in activation units, theta is positive and broadcastable,
spikes are float tensors of 0, 1 (and -1). A spike of a layer is worth its theta.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spikedet.config import Reset

Firing = Callable[[Tensor, Tensor], Tensor]
"""``(potential, theta) -> spikes``."""


def fires(v: Tensor, theta: Tensor) -> Tensor:
    """1 where v >= theta, else 0."""
    return (v >= theta).to(v.dtype)


def if_step(v: Tensor, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """One step of IF with soft reset: ``(spikes in {0, 1}, membrane potential after reset)``."""
    u = u + v
    spikes = fires(u, theta)
    return spikes, u - theta * spikes


def signed_if_step(v: Tensor, u: Tensor, count: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of signed IF: ``(spikes in {-1, 0, 1}, potential after reset, spike count so far)``."""
    u = u + v
    spikes = fires(u, theta) - ((u < 0) & (count > 0)).to(u.dtype)
    return spikes, u - theta * spikes, count + spikes


def asymmetric_if_step(v: Tensor, u: Tensor, theta: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
    """One step of asymmetric IF, ``lower`` = -theta / slope: ``(spikes in {-1, 0, 1}, potential after reset)``."""
    u = u + v
    up, down = fires(u, theta), (u <= lower).to(u.dtype)
    return up - down, u - theta * up - lower * down


def clif_step(
    x: Tensor,
    c: Tensor,
    v: Tensor,
    theta: Tensor,
    decays: tuple[float | Tensor, float | Tensor],
    reset: Reset = "hard",
    fire: Firing = fires,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of C-LIF.

    Args:
        x: input potential.
        c: current of the step before.
        v: membrane potential after the reset of the step before.
        theta: threshold.
        decays: d_c and d_v, the shares of current and potential that a step leaves.
        reset: ``hard`` to zero, or ``soft`` by theta.
        fire: makes spikes; one with a surrogate gradient in training.

    Returns:
        Spikes in {0, 1}, current, potential after reset.
    """
    c = decays[0] * c + x
    v = decays[1] * v + c
    spikes = fire(v, theta)
    return spikes, c, v * (1 - spikes) if reset == "hard" else v - theta * spikes


def rate_after_waiting(x: Tensor, u0: Tensor, theta: Tensor, T: int) -> Tensor:
    """Rate, in activation units, of an IF neuron that gets T steps of input, x on average, before it fires for T steps.

    theta clip(floor((T x + u[0]) / theta), 0, T) / T: no spike too many, whatever the order of the input.
    """
    return theta * torch.floor((T * x + u0) / theta).clamp(0, T) / T

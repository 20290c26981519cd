"""What the residual membrane potential cannot say (section IV, equation 9, figure 4).

An IF or signed IF neuron with u[0] = theta / 2 outputs g of its mean input if its residual potential u[T] ends within
[0, theta); of an asymmetric neuron the lower end is -theta / slope. Outside, a spike more or less would have helped:

    u[T] >= theta and fewer than T spikes       under-firing, overflow (example 2)
    u[T] < 0 and a spike that could be missing  over-firing, negative residue (example 1)

A neuron that fires in every step, and one that is silent, cannot do better: those are clipped, which is not RPE. So the
rate differs from g by clip(n + floor(u[T] / theta), 0, T) - n spikes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.quantization.activation import per_channel


def residual_deviation(potential: Tensor, spikes: Tensor, theta: Tensor, T: int, lower: Tensor | None = None) -> Tensor:
    """How far residual potentials lie outside the range that a neuron can represent, signed, in units of theta.

    Args:
        potential: ``[N, C, ...]``, u[T] after reset.
        spikes: ``[N, C, ...]``, positive minus negative ones in T steps.
        theta: ``[C]`` or ``[1]``.
        T: steps.
        lower: ``[C]``, the negative thresholds of asymmetric neurons, which also fire down to -T; else None.

    Returns:
        ``[N, C, ...]``: negative below the range, positive above it; 0 within it, and where a neuron that fires in
        every step or is silent cannot do better.
    """
    limit = per_channel(theta, potential.ndim)
    low = torch.zeros_like(limit) if lower is None else per_channel(lower, potential.ndim)
    least = 0 if lower is None else -T
    below = (potential - low).clamp_max(0) * (spikes > least)
    above = (potential - limit).clamp_min(0) * (spikes < T)
    return (below + above) / limit

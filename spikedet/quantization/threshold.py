"""The threshold that minimizes the mean-square quantization error on a few images.

Stage I starts here: a theta trained with the source network covers outliers and wastes the few levels that T offers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.quantization.activation import leaky_clip, qc_quantize

CANDIDATES = 40
"""Size of the grid, which is linear in the largest activation of each channel."""


def mean_square_best_theta(x: Tensor, T: int, *, theta_max: Tensor | None = None, slope: float = 0.0) -> Tensor:
    """theta per channel that minimizes mean((g(x) - sigma_theta_max(x))^2) over a grid of fractions.

    Args:
        x: ``[N, C, ...]`` pre-activations of one layer.
        T: quantization levels above zero.
        theta_max: ``[C]`` or ``[1]``, the trained clip of the source; None does not clip.
        slope: of the LeakyReLU; 0 is ReLU.

    Returns:
        ``[C]``; a silent channel keeps ``theta_max`` (or 1).
    """
    x = x.detach().float()
    limit = torch.full((1,), torch.inf) if theta_max is None else theta_max.float()
    target = leaky_clip(x, limit.to(x.device), slope)
    over = [d for d in range(x.ndim) if d != 1]
    top = target.abs().amax(over)
    fallback = theta_max.float().expand_as(top) if theta_max is not None else torch.ones_like(top)
    silent = top <= 0
    top = torch.where(silent, fallback, top)
    best_theta, best_error = top.clone(), torch.full_like(top, torch.inf)
    for step in range(1, CANDIDATES + 1):
        theta = top * (step / CANDIDATES)
        error = (qc_quantize(x, theta, T, slope=slope) - target).square().mean(over)
        better = error < best_error
        best_theta, best_error = torch.where(better, theta, best_theta), torch.where(better, error, best_error)
    return torch.where(silent, fallback, best_theta)

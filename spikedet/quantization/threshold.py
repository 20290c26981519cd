"""The threshold that minimizes the mean-square quantization error on a few pictures.

Stage I starts here: a theta trained with the source network covers outliers and wastes the few levels that T offers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.quantization.activation import per_channel, qc_quantize


def mean_square_best_theta(x: Tensor, T: int, *, theta_max: Tensor | None = None, candidates: int = 40) -> Tensor:
    """theta per channel that minimizes mean((g(x) - clip(x, 0, theta_max))^2) over a grid of fractions.

    Args:
        x: ``[N, C, ...]`` pre-activations of one layer.
        T: quantization levels above zero.
        theta_max: ``[C]`` or ``[1]``, the trained clip of the source; None is ReLU.
        candidates: grid size; the grid is linear in the largest activation of each channel.

    Returns:
        ``[C]``; a silent channel keeps ``theta_max`` (or 1).
    """
    x = x.detach().float()
    target = x.relu()
    if theta_max is not None:
        target = torch.minimum(target, per_channel(theta_max.float(), x.ndim))
    over = [d for d in range(x.ndim) if d != 1]
    top = target.amax(over)
    fallback = theta_max.float().expand_as(top) if theta_max is not None else torch.ones_like(top)
    silent = top <= 0
    top = torch.where(silent, fallback, top)
    best_theta, best_error = top.clone(), torch.full_like(top, torch.inf)
    for step in range(1, candidates + 1):
        theta = top * (step / candidates)
        error = (qc_quantize(x, theta, T) - target).square().mean(over)
        better = error < best_error
        best_theta, best_error = torch.where(better, theta, best_theta), torch.where(better, error, best_error)
    return torch.where(silent, fallback, best_theta)

"""The mean-square-best threshold, against every candidate tried by brute force."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spikedet.quantization import mean_square_best_theta, qc_quantize


def errors(x: Tensor, target: Tensor, theta: Tensor, T: int) -> Tensor:
    """``[C]`` mean square of g(x) - target."""
    return (qc_quantize(x, theta, T) - target).square().mean((0, 2, 3))


def heavy_tailed(channels: int = 3) -> Tensor:
    torch.manual_seed(0)
    scale = torch.linspace(0.5, 3, channels).view(1, -1, 1, 1)
    return torch.randn(4, channels, 9, 7).pow(3) * scale + 0.2


@pytest.mark.parametrize("T", [1, 4, 32])
@pytest.mark.parametrize("theta_max", [None, [2.0], [0.5, 2.0, 4.0]])
def test_no_candidate_is_better(T: int, theta_max: list[float] | None) -> None:
    x = heavy_tailed()
    limit = None if theta_max is None else torch.tensor(theta_max)
    best = mean_square_best_theta(x, T, theta_max=limit)
    target = x.relu() if limit is None else torch.minimum(x.relu(), limit.view(1, -1, 1, 1))
    top = target.amax((0, 2, 3))
    assert best.shape == (3,)
    least = errors(x, target, best, T)
    candidates = [errors(x, target, top * (step / 40), T) for step in range(1, 41)]
    assert torch.equal(least, torch.stack(candidates).amin(0))
    for neighbour in (best * 0.95, best * 1.05):
        # The grid is 2.5 % of the largest activation fine, so a neighbour between two candidates wins by little.
        assert (least <= errors(x, target, neighbour, T) * 1.05).all()


def test_few_levels_take_a_lower_threshold_than_many() -> None:
    x = heavy_tailed()
    few, many = mean_square_best_theta(x, 4), mean_square_best_theta(x, 256)
    assert (few < many).all()
    assert (many <= x.relu().amax((0, 2, 3))).all()


def test_channels_do_not_touch_each_other() -> None:
    x = heavy_tailed()
    whole = mean_square_best_theta(x, 4)
    assert all(torch.equal(mean_square_best_theta(x[:, c : c + 1], 4), whole[c : c + 1]) for c in range(3))


@pytest.mark.parametrize(("theta_max", "kept"), [(None, 1.0), ([3.0], 3.0), ([2.0, 3.0], 3.0)])
def test_a_silent_channel_keeps_its_threshold(theta_max: list[float] | None, kept: float) -> None:
    x = torch.rand(2, 2, 3, 5)
    x[:, 1] = -x[:, 1]
    best = mean_square_best_theta(x, 4, theta_max=None if theta_max is None else torch.tensor(theta_max))
    assert best[1] == kept
    assert 0 < best[0] <= 1


def test_a_layer_that_is_silent_altogether() -> None:
    assert mean_square_best_theta(torch.zeros(1, 3, 2, 2), 4).tolist() == [1, 1, 1]


def test_bfloat16_and_gradients_are_taken() -> None:
    x = heavy_tailed().bfloat16().requires_grad_()
    best = mean_square_best_theta(x, 4)
    assert best.dtype == torch.float32
    assert not best.requires_grad
    assert torch.equal(best, mean_square_best_theta(x.detach().float(), 4))

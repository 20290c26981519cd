"""The I-LIF activation: values, gradient and state as defined, on both code paths."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spikedet.quantization import ClippedReLU, IntegerActivation, qc_quantize


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers).view(1, 1, 1, -1)


def activation(theta: float = 4.0, D: int = 4, beta: float = 0.0, slope: float = 0.0) -> IntegerActivation:
    """theta is the largest output; one spike is worth theta / D."""
    return IntegerActivation(1, theta, slope, D=D, beta=beta)


def test_values_by_hand() -> None:
    x = values(-1.0, 0.0, 0.49, 0.5, 1.49, 1.5, 2.5, 3.5, 4.4, 9.0)
    assert activation()(x).flatten().tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 4, 4]  # half up: 0.5, 1.5 and 2.5
    assert activation(theta=2.0)(x / 2).flatten().tolist() == [0, 0, 0, 0.5, 0.5, 1, 1.5, 2, 2, 2]


def test_two_sides_by_hand() -> None:
    """Slope 1: an asymmetric neuron that waits, at u = U / theta + 1/2, sends floor(-u) negative spikes."""
    x = values(-9.0, -4.5, -4.4, -1.5, -1.4, -0.5, 0.4, 0.5, 9.0)
    assert activation(slope=1.0)(x).flatten().tolist() == [-4, -4, -3, -1, 0, 0, 0, 1, 4]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_the_gradient_is_one_within_the_range(channels_last: bool, slope: float) -> None:
    x = values(-8.1, -8.0, -0.4, -0.01, 0.0, 0.3, 3.9, 4.0, 4.01, 4.4, 9.0)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    x.requires_grad_()
    activation(slope=slope)(x).sum().backward()
    inner = [1.0] * 4 + [0.0] * 3
    assert x.grad is not None
    assert x.grad.flatten().tolist() == ([0, slope, slope, slope] if slope else [0] * 4) + inner


@given(seed=st.integers(0, 2**16), D=st.integers(1, 8), last=st.booleans())
def test_the_value_is_that_of_the_qc_activation(seed: int, D: int, last: bool) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, 5, 3, 4) * 2
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    made = IntegerActivation(5, D=D, beta=0.0)
    made.set_theta(torch.rand(5) + 0.5)
    assert torch.equal(made(x), qc_quantize(x, made.theta, D))


def test_the_gradient_of_theta_is_that_of_differences() -> None:
    """Where nothing rounds, g is theta h(x / theta): its gradient follows from that of x."""
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64) * 3
    made = activation(theta=3.0)
    y = made(x)
    y.sum().backward()
    inside = (x >= 0) & (x <= 3.0)
    expected = (y - x * inside).sum() / 3.0 * 3.0  # d theta / d log theta = theta
    assert made.log_theta.grad is not None
    assert made.log_theta.grad.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_reset_passes_no_gradient() -> None:
    """U[2] = beta (U[1] - theta S[1]) + X[2]: the gradient of X[1] through the membrane is beta, whatever was sent."""
    made = activation(beta=0.25)
    first, second = values(2.3, 7.0).requires_grad_(), values(1.0, 1.0)
    made(first)
    made(second).sum().backward()
    assert first.grad is not None and first.grad.flatten().tolist() == [0.25, 0.25]


def test_a_membrane_leaks_and_is_forgotten() -> None:
    made = activation(beta=0.5)
    assert made(values(0.4)).item() == 0
    assert made(values(0.4)).item() == 1  # 0.4 + 0.5 x 0.4 = 0.6
    made.reset()
    assert made(values(0.4)).item() == 0
    made(values(1.0))
    assert copy.deepcopy(made).left is not None  # values, no graph: made without gradient
    negative = activation(beta=1.0, slope=0.5)
    assert negative(values(-3.0)).item() == -1  # u = -2.5: one negative spike, reset by theta / slope = 2
    assert negative.left is not None and negative.left.item() == -1.0


def test_without_leak_nothing_is_kept() -> None:
    made = activation(beta=0.0)
    made(values(0.4))
    assert made.left is None


def test_it_starts_at_the_theta_of_a_clip_of_its_own() -> None:
    clip = ClippedReLU(3, 2.0)
    made = IntegerActivation.from_clip(clip, D=4, beta=0.5)
    made.log_theta.data.zero_()
    assert clip.theta.tolist() == [2.0] * 3 and made.state_dict().keys() == clip.state_dict().keys()
    assert "D=4, beta=0.5" in repr(made)


@pytest.mark.parametrize(("settings", "message"), [({"D": 0}, "D must be at least 1"), ({"beta": 1.5}, "fraction")])
def test_wrong_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IntegerActivation(1, **settings)  # type: ignore[arg-type]

"""The neurons against traces computed by hand, and against the closed form of their rate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from snn_reference import rate_of_constant_input
from torch import Tensor

from spikedet.snn.functional import asymmetric_if_step, if_step, rate_after_waiting, signed_if_step

ONE = torch.tensor(1.0)


def run_if(train: Sequence[float], u0: float = 0.5) -> tuple[list[float], list[float]]:
    """Spikes and potentials after reset, theta = 1."""
    u, spikes, potentials = torch.tensor(u0), [], []
    for v in train:
        s, u = if_step(torch.tensor(v), u, ONE)
        spikes.append(s.item())
        potentials.append(u.item())
    return spikes, potentials


def run_signed(train: Sequence[float], u0: float = 0.5) -> tuple[list[float], list[float], list[float]]:
    """Spikes, potentials after reset and spike counts, theta = 1."""
    u, count = torch.tensor(u0), torch.tensor(0.0)
    spikes, potentials, counts = [], [], []
    for v in train:
        s, u, count = signed_if_step(torch.tensor(v), u, count, ONE)
        spikes.append(s.item())
        potentials.append(u.item())
        counts.append(count.item())
    return spikes, potentials, counts


def test_if_trace_by_hand() -> None:
    spikes, potentials = run_if([0.25, 0.25, 2.5, 0.0, -3.0, 0.5])
    #                  before reset: 0.75, 1.0, 2.5, 1.5, -2.5, -2.0
    assert spikes == [0, 1, 1, 1, 0, 0]
    assert potentials == [0.75, 0.0, 1.5, 0.5, -2.5, -2.0]


def test_a_potential_at_the_threshold_fires_and_one_just_below_does_not() -> None:
    below = torch.nextafter(ONE, torch.tensor(0.0))
    assert if_step(ONE, torch.tensor(0.0), ONE)[0] == 1
    assert if_step(below, torch.tensor(0.0), ONE)[0] == 0


def test_soft_reset_keeps_the_overflow() -> None:
    _, u = if_step(torch.tensor(2.25), torch.tensor(0.5), torch.tensor(0.5))
    assert u == 2.25


def test_signed_if_trace_by_hand() -> None:
    spikes, potentials, counts = run_signed([-1.0, 1.75, -0.75, -0.75, -0.75, 2.0])
    # before reset: -0.5 (nothing to take back), 1.25, -0.5 (takes back), -0.25 (count 0), -1.0, 1.0
    assert spikes == [0, 1, -1, 0, 0, 1]
    assert potentials == [-0.5, 0.25, 0.5, -0.25, -1.0, 0.0]
    assert counts == [0, 1, 0, 0, 0, 1]


def test_signed_if_takes_no_spike_back_at_potential_zero() -> None:
    s, u, count = signed_if_step(torch.tensor(-0.5), torch.tensor(0.5), torch.tensor(3.0), ONE)
    assert (s.item(), u.item(), count.item()) == (0, 0, 3)


@pytest.mark.parametrize(
    ("case", "train", "spikes", "residual"),
    [
        ("in time: as many as the quantized activation has", [0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], 0.5),
        ("inhibition comes too late: one spike too many", [2.0, 2.0, -1.0, -1.0], [1, 1, 1, 0], -0.5),
        ("excitation comes too late: one spike too few", [-1.0, -1.0, 2.0, 2.0], [0, 0, 0, 1], 1.5),
    ],
)
def test_residual_potential_error(case: str, train: list[float], spikes: list[float], residual: float) -> None:
    """Three trains of mean 0.5, T = 4: a residual outside [0, theta) is an error of the rate."""
    level = rate_of_constant_input(torch.tensor(0.5), ONE, 4)
    got, potentials = run_if(train)
    assert (got, potentials[-1]) == (spikes, residual), case
    assert (sum(spikes) == level) == (0 <= residual < 1)


def test_signed_if_repairs_the_spike_too_many() -> None:
    spikes, potentials, counts = run_signed([2.0, 2.0, -1.0, -1.0])
    assert spikes == [1, 1, 1, -1]
    assert (potentials[-1], counts[-1]) == (0.5, 2)


thirty_seconds = st.integers(-64, 96).map(lambda n: n / 32)


@given(
    train=st.sampled_from([1, 2, 4, 8]).flatmap(lambda T: st.lists(thirty_seconds, min_size=T, max_size=T)),
    u0=st.integers(-8, 40).map(lambda n: n / 16),
    theta=st.sampled_from([0.5, 1.0, 2.0]),
)
@example(train=[2.0, 2.0, -1.0, -1.0], u0=0.5, theta=1.0)  # no spike too many: 2
@example(train=[-1.0, -1.0, 2.0, 2.0], u0=0.5, theta=1.0)  # and none too few
def test_a_neuron_that_waits_answers_the_sum_of_its_input(train: list[float], u0: float, theta: float) -> None:
    T, u, count = len(train), torch.tensor(u0 + sum(train)), 0.0
    for _ in range(T):
        spike, u = if_step(torch.tensor(0.0), u, torch.tensor(theta))
        count += spike.item()
    rate = rate_after_waiting(torch.tensor(sum(train) / T), torch.tensor(u0), torch.tensor(theta), T)
    assert rate.item() == theta * count / T


def run_asymmetric(train: Sequence[float], u0: float = 0.5, slope: float = 0.25) -> tuple[list[float], list[float]]:
    """Spikes and potentials after reset, theta = 1."""
    u, spikes, potentials = torch.tensor(u0), [], []
    for v in train:
        s, u = asymmetric_if_step(torch.tensor(v), u, ONE, -ONE / slope)
        spikes.append(s.item())
        potentials.append(u.item())
    return spikes, potentials


def test_asymmetric_if_trace_by_hand() -> None:
    spikes, potentials = run_asymmetric([0.5, -2.0, -2.0, -3.0, 0.0, 4.5])
    #                before reset: 1.0, -2.0, -4.0 (at the lower threshold), -3.0, -3.0, 1.5
    assert spikes == [1, 0, -1, 0, 0, 1]
    assert potentials == [0.0, -2.0, 0.0, -3.0, -3.0, 0.5]


eighths = st.integers(-40, 40).map(lambda n: n / 8)
thetas = st.sampled_from([0.5, 1.0, 2.0])


@given(x=st.integers(-64, 320).map(lambda n: n / 64), theta=thetas, T=st.integers(1, 64))
def test_constant_input_gives_the_quantized_level(x: float, theta: float, T: int) -> None:
    u, count = torch.tensor(theta / 2), 0.0
    for _ in range(T):
        s, u = if_step(torch.tensor(x), u, torch.tensor(theta))
        count += s.item()
    level = min(max((T * x + theta / 2) // theta, 0), T)
    assert count == level
    assert rate_of_constant_input(torch.tensor(x), torch.tensor(theta), T) == level


@given(x=st.integers(-1024, 320).map(lambda n: n / 64), theta=thetas, T=st.integers(1, 64))
@example(x=-259 / 64, theta=1.0, T=11)  # the first step is lost: 10 spikes, though 11 are owed
def test_constant_input_of_an_asymmetric_neuron(x: float, theta: float, T: int) -> None:
    """A negative input causes slope times as many spikes."""
    slope, u, count = 0.25, torch.tensor(theta / 2), 0.0
    for _ in range(T):
        s, u = asymmetric_if_step(torch.tensor(x), u, torch.tensor(theta), torch.tensor(-theta / slope))
        count += s.item()
    assert rate_of_constant_input(torch.tensor(x), torch.tensor(theta), T, slope) == count
    leaky = min(max(T * (x if x > 0 else slope * x) / theta, -T), T)
    assert abs(count - leaky) <= 1 + slope / 2  # it starts at theta / 2, on the other side


@given(train=st.lists(eighths, min_size=1, max_size=12), u0=eighths)
def test_charge_is_kept(train: list[float], u0: float) -> None:
    """u[T] = u[0] + sum of inputs - theta x sum of spikes, for both neurons."""
    spikes, potentials = run_if(train, u0)
    assert potentials[-1] == u0 + sum(train) - sum(spikes)
    spikes, potentials, counts = run_signed(train, u0)
    assert potentials[-1] == u0 + sum(train) - sum(spikes)
    assert counts == [sum(spikes[: t + 1]) for t in range(len(train))]
    assert min(counts) >= 0


def random_step(shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    return torch.randn(*shape), torch.rand(*shape)


def test_threshold_broadcasts_over_channels_and_inputs_stay_as_they_were() -> None:
    torch.manual_seed(0)
    v, u = random_step((2, 3, 4, 5))
    kept_v, kept_u = v.clone(), u.clone()
    theta = torch.tensor([0.25, 0.5, 1.0]).view(1, 3, 1, 1)
    spikes, after = if_step(v, u, theta)
    for channel in range(3):
        alone = if_step(v[:, channel], u[:, channel], theta[0, channel, 0, 0])
        assert torch.equal(spikes[:, channel], alone[0])
        assert torch.equal(after[:, channel], alone[1])
    assert torch.equal(v, kept_v)
    assert torch.equal(u, kept_u)

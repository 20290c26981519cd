"""The terms of the error add up exactly; the paper's three examples; nothing where there is nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spikedet.diagnosis.residual import residual_deviation
from spikedet.diagnosis.split import TERMS, cosine, levels, spike_counts, split_error, split_logits
from spikedet.snn.functional import asymmetric_if_step, if_step, signed_if_step

EIGHTHS = st.integers(-24, 24).map(lambda i: i / 8)
THETAS = st.sampled_from([0.5, 1.0, 2.0])
WINDOWS = st.sampled_from([1, 2, 4, 8, 16])


def maps(values: list[float]) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def run_if(v: Tensor, theta: Tensor, u0: float | None = None) -> tuple[Tensor, Tensor]:
    """Spikes and u[T] of IF neurons for input potentials ``[T, ...]``; u[0] = theta / 2."""
    u, count = torch.zeros_like(v[0]) + (theta / 2 if u0 is None else u0), torch.zeros_like(v[0])
    for current in v:
        spikes, u = if_step(current, u, theta)
        count = count + spikes
    return count, u


# --- section IV, examples 1 to 3: input spikes [6 steps, inputs] through weights onto one neuron with theta = 1

EXAMPLES = {
    "1: regular, rate undervalued, negative residue": (
        [[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]], [0.75, -1.0], 1, 0, -1.25,
    ),
    "2: irregular, rate overvalued, overflow": (
        [[0, 0], [0, 0], [0, 0], [0, 0], [1, 1], [1, 1]], [0.5, 1.0], 2, 3, 1.5,
    ),
    "3: irregular, rate correct": (
        [[0, 0], [0, 1], [0, 0], [1, 0], [0, 0], [0, 0]], [1.25, -0.5], 1, 1, 0.25,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_papers_examples(name: str) -> None:
    trains, weights, fired, expected, residue = EXAMPLES[name]
    v = (torch.tensor(trains).float() @ torch.tensor(weights)).view(6, 1, 1, 1, 1)
    theta, mean = torch.ones(1), v.mean(0)
    count, u = run_if(v, theta)
    assert (float(count), float(levels(mean, theta, 6)), float(u)) == (fired, expected, residue)
    terms = dict(zip(TERMS, (6 * split_error(mean, mean, mean, mean, count, theta, 6)).flatten().tolist(), strict=True))
    assert not any(terms[name] for name in ("clipping", "propagated_qc", "calibration", "propagated_rpe"))
    assert terms["over_firing"] == pytest.approx(max(fired - expected, 0), abs=1e-6)
    assert terms["under_firing"] == pytest.approx(min(fired - expected, 0), abs=1e-6)
    outside = {"1": -1.25, "2": 0.5, "3": 0.0}[name[0]]
    assert float(residual_deviation(u, count, theta, 6)) == outside


def test_regular_input_that_never_changes_has_no_residual_error() -> None:
    v = torch.full((6, 1, 1, 1, 1), 0.25)
    count, u = run_if(v, torch.ones(1))
    assert float(count) == float(levels(v[0], torch.ones(1), 6)) == 2 and float(u) == 0.0


# --- properties, exact


@given(
    st.lists(st.tuples(EIGHTHS, EIGHTHS, EIGHTHS, EIGHTHS, st.integers(-16, 16)), min_size=1, max_size=8),
    THETAS, WINDOWS, st.sampled_from([0.0, 0.25]),
)  # fmt: skip
def test_the_terms_add_up_exactly(
    neurons: list[tuple[float, float, float, float, int]], theta: float, T: int, slope: float
) -> None:
    x, x_qc, x_cal, x_snn, spikes = (maps(list(column)) for column in zip(*neurons, strict=True))
    spikes = spikes.clamp(-T if slope else 0, T)
    limit = torch.tensor([theta])
    terms = split_error(x, x_qc, x_cal, x_snn, spikes, limit, T, slope)
    rate, activation = spikes * theta / T, torch.where(x < 0, slope * x, x)
    assert terms.shape == (len(TERMS), *x.shape)
    assert torch.equal(terms.sum(0), rate - activation)
    assert torch.equal(spike_counts(rate, limit, T), spikes)
    assert torch.all(terms[5] <= 0) and torch.all(terms[6] >= 0) and torch.all(terms[5] * terms[6] == 0)


@given(st.lists(EIGHTHS, min_size=1, max_size=16), THETAS)
def test_the_residual_potential_says_which_spikes_are_wrong(v: list[float], theta: float) -> None:
    T, limit = len(v), torch.tensor([theta])
    steps = torch.tensor(v, dtype=torch.float64).view(T, 1, 1, 1, 1)
    count, u = run_if(steps, limit.double())
    # Whole numbers of eighths over T: g at the mean, free of the division's rounding.
    expected = torch.floor((steps.sum(0) + theta / 2) / theta).clamp(0, T)
    assert torch.equal(expected - count, (count + torch.floor(u / theta)).clamp(0, T) - count)
    deviation = residual_deviation(u, count, limit, T)
    assert torch.all((deviation < 0) == (expected < count))
    if bool((u != theta).all()):
        assert torch.all((deviation > 0) == (expected > count))


@given(st.lists(EIGHTHS, min_size=1, max_size=16), THETAS)
def test_a_signed_neuron_too(v: list[float], theta: float) -> None:
    T, limit = len(v), torch.tensor([theta], dtype=torch.float64)
    u, count = torch.full((1, 1, 1, 1), theta / 2, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for current in v:
        _, u, count = signed_if_step(torch.full_like(u, current), u, count, limit)
    expected = math.floor(sum(v) / theta + 0.5)
    within = min(max(expected, 0), T) - float(count)
    assert within == min(max(float(count) + math.floor(float(u) / theta), 0), T) - float(count)


@given(st.lists(EIGHTHS, min_size=1, max_size=8), THETAS, WINDOWS, st.sampled_from(["if", "signed", "asymmetric"]))
def test_constant_input_has_no_residual_error(x: list[float], theta: float, T: int, neuron: str) -> None:
    v, limit, slope = maps(x), torch.tensor([theta]), 0.25 if neuron == "asymmetric" else 0.0
    u, count = torch.full_like(v, theta / 2), torch.zeros_like(v)
    for _ in range(T):
        if neuron == "asymmetric":
            spikes, u = asymmetric_if_step(v, u, limit, -limit / slope)
            count = count + spikes
        elif neuron == "signed":
            _, u, count = signed_if_step(v, u, count, limit)
        else:
            spikes, u = if_step(v, u, limit)
            count = count + spikes
    terms = split_error(v, v, v, v, count, limit, T, slope)
    assert not terms[2:].any()
    lower = -limit / slope if slope else None
    assert not residual_deviation(u, count, limit, T, lower).any()


# --- residual potentials by hand


def test_silent_and_saturated_neurons_cannot_do_better() -> None:
    u, count = maps([-3.0, -3.0, 5.0, 5.0, 0.0, 1.0, 1.5]), maps([0, 2, 4, 3, 1, 1, 1])
    assert residual_deviation(u, count, torch.tensor([1.0]), 4).flatten().tolist() == [0, -3, 0, 4, 0, 0, 0.5]


def test_an_asymmetric_neuron_goes_down_to_its_negative_threshold() -> None:
    u, count, theta = maps([-3.0, -5.0, -5.0, 3.0]), maps([0, 0, -4, 0]), torch.tensor([1.0])
    found = residual_deviation(u, count, theta, 4, torch.tensor([-4.0]))
    assert found.flatten().tolist() == [0, -1, 0, 2]


def test_thresholds_by_channel() -> None:
    u, count = torch.tensor([3.0, 3.0]).view(1, 2, 1, 1), torch.ones(1, 2, 1, 1)
    assert residual_deviation(u, count, torch.tensor([1.0, 2.0]), 4).flatten().tolist() == [2.0, 0.5]


# --- output layers and cosine


def test_a_read_out_only_propagates() -> None:
    x, x_qc, x_cal, x_snn = maps([1.0]), maps([1.5]), maps([1.25]), maps([0.5])
    terms = split_logits(x, x_qc, x_cal, x_snn)
    assert terms.flatten().tolist() == [0, 0, 0.5, -0.25, -0.75, 0, 0]


def test_cosine_of_silent_maps() -> None:
    none, some = torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)
    pairs = [cosine(a, b).item() for a, b in ((none, none), (none, some), (some, some), (some, -some))]
    assert pairs == pytest.approx([1, 0, 1, -1], abs=1e-12)


@given(
    st.lists(EIGHTHS, min_size=4, max_size=4), st.lists(EIGHTHS, min_size=4, max_size=4), st.sampled_from([0.5, 4.0])
)
def test_cosine_does_not_see_scale(a: list[float], b: list[float], scale: float) -> None:
    first, second = maps(a), maps(b)
    found = cosine(first, second)
    assert torch.all(found.abs() <= 1)
    assert torch.allclose(cosine(scale * first, second), found, atol=1e-12)  # norms round differently
    assert torch.equal(cosine(second, first), found)

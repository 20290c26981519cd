"""Operations on dense trains: linear ones by hand, and what each rule makes of a maximum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from snn_reference import dyadic
from torch import Tensor, nn

from spikedet.config import MaxPoolRule
from spikedet.snn.operations import MaxPool, Slice, ZeroPad

RULES: tuple[MaxPoolRule, ...] = ("count", "or")


def train(*neurons: str) -> Tensor:
    """Trains of the neurons of one window ``[K, 1, 1, 1, n]``; "+", "-" and "." are spikes."""
    values = {"+": 1.0, "-": -1.0, ".": 0.0}
    steps = [[values[neuron[k]] for neuron in neurons] for k in range(len(neurons[0]))]
    return torch.tensor(steps).view(len(steps), 1, 1, 1, len(neurons))


def test_slices_and_zeros() -> None:
    x = dyadic(2, 3, 5, 3, 4)
    assert torch.equal(Slice(1, 4)([x]), x[:, :, 1:4])
    padded = ZeroPad((1, 2, 0, 3))([x])
    assert padded.shape == (2, 3, 5, 6, 7)
    assert torch.equal(padded[..., :3, 1:5], x) and padded.abs().sum() == x.abs().sum()


@pytest.mark.parametrize(
    ("rule", "pooled"),
    [
        ("count", [1, 1, 0, 0, 1]),  # counts 1 2 2 2 2 and 0 0 1 2 3: their maximum is 1 2 2 2 3
        ("or", [1, 1, 1, 1, 1]),
    ],
)
def test_two_neurons_that_take_turns(rule: MaxPoolRule, pooled: list[float]) -> None:
    found = MaxPool(nn.MaxPool2d((1, 2)), rule)([train("++...", "..+++")])
    assert found.flatten().tolist() == pooled


def test_a_spike_taken_back_lowers_the_maximum() -> None:
    found = MaxPool(nn.MaxPool2d((1, 2)))([train("++-.", "+..+")])
    assert found.flatten().tolist() == [1, 1, -1, 1]  # counts 1 2 1 1 and 1 1 1 2


@given(seed=st.integers(0, 2**20), steps=st.integers(1, 9), signed=st.booleans(), pieces=st.integers(1, 4))
def test_the_count_rule_pools_rates_exactly_at_every_step(seed: int, steps: int, signed: bool, pieces: int) -> None:
    torch.manual_seed(seed)
    spikes = (torch.rand(steps, 2, 3, 5, 6) < 0.4).float()
    spikes *= torch.randint(-1, 2, spikes.shape).sign() if signed else 1.0
    pool = nn.MaxPool2d(3, 2, 1)
    op = MaxPool(pool)
    whole = op([spikes])
    assert set(whole.unique().tolist()) <= {-1.0, 0.0, 1.0}
    for t in range(1, steps + 1):
        assert torch.equal(whole[:t].sum(0), pool(spikes[:t].sum(0)))
    state = op.initial_state(spikes)
    assert torch.equal(torch.cat([op.advance(part, state) for part in spikes.tensor_split(pieces)]), whole)


@given(seed=st.integers(0, 2**20), steps=st.integers(1, 9))
def test_or_errs_as_it_is_known_to(seed: int, steps: int) -> None:
    """It never sends too few; where one neuron fires both rules agree."""
    torch.manual_seed(seed)
    spikes = (torch.rand(steps, 1, 2, 4, 4) < 0.3).float()
    pool = nn.MaxPool2d(2)
    exact = pool(spikes.sum(0))
    assert (MaxPool(pool, "or")([spikes]).sum(0) >= exact).all()
    alone = spikes * torch.tensor([[1.0, 0.0], [0.0, 0.0]]).repeat(2, 2)
    for rule in RULES:
        assert torch.equal(MaxPool(pool, rule)([alone]).sum(0), pool(alone.sum(0)))


def test_activations_are_pooled_as_they_are() -> None:
    """One step of real values, as the QC-ANN has them."""
    x = torch.randn(1, 2, 3, 6, 6)
    for rule in RULES:
        assert torch.allclose(MaxPool(nn.MaxPool2d(2), rule)([x.relu()])[0], nn.MaxPool2d(2)(x[0].relu()))


def test_an_empty_piece() -> None:
    empty = torch.zeros(0, 1, 2, 4, 4)
    for rule in RULES:
        assert MaxPool(nn.MaxPool2d(2), rule)([empty]).shape == (0, 1, 2, 2, 2)

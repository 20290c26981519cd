"""Mean spikes and their gradient, compiled and not, against ``fire`` and autograd through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from snn_reference import dyadic
from torch import Tensor

from spikedet.kernels.library import available
from spikedet.snn import surrogate
from spikedet.snn.backends.native.rate import NativeRate
from spikedet.snn.surrogate import fire, rate

needs_kernels = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")
NEURONS = ["if", "signed", "asymmetric"]
N, C, H, W = 2, 5, 3, 4


@pytest.fixture(params=[pytest.param(True, marks=needs_kernels), False], ids=["compiled", "torch"], scope="module")
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways, one after the other."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if not request.param:
            monkeypatch.setattr(surrogate, "available", lambda: False)
            monkeypatch.setattr(NativeRate, "apply", None)
        yield


pytestmark = pytest.mark.usefixtures("way")


def made_case(seed: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Dyadic inputs that make neurons fire and take back, and thresholds that are powers of two."""
    torch.manual_seed(seed)
    v = dyadic(steps, N, C, H, W, low=-12, high=16)
    u0 = dyadic(1, C, 1, 1, low=-8, high=16, over=16)
    return v, u0, torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (C,))]


def by_fire(v: Tensor, u0: Tensor, theta: Tensor, T: int, neuron: str, delay: int) -> Tensor:
    steps, theta = v.expand(T, *v.shape[1:]), theta.view(1, -1, 1, 1)
    return fire(steps, u0, theta, delay=delay, **kind(neuron, theta)).mean(0)


def kind(neuron: str, theta: Tensor) -> dict[str, Any]:
    """The arguments that make a neuron of this kind; an asymmetric one has slope 1/4."""
    return {"signed": neuron == "signed", "lower": -4 * theta if neuron == "asymmetric" else None}


cases = {
    "seed": st.integers(0, 2**20),
    "T": st.integers(1, 9),
    "constant": st.booleans(),
    "neuron": st.sampled_from(NEURONS),
    "delay": st.integers(0, 3),
}


@given(**cases)
def test_it_is_the_mean_of_fire(seed: int, T: int, constant: bool, neuron: str, delay: int) -> None:
    v, u0, theta = made_case(seed, 1 if constant else T)
    found = rate(v, u0, theta, T, delay=delay, **kind(neuron, theta))
    assert found.shape == (N, C, H, W)
    assert torch.equal(found, by_fire(v, u0, theta, T, neuron, delay))


@given(**cases)
def test_its_gradient_is_that_of_fire(seed: int, T: int, constant: bool, neuron: str, delay: int) -> None:
    """Of v and u0, each in its own shape; the two sum in another order, hence 1e-5."""
    v, u0, theta = made_case(seed, 1 if constant else T)
    leaves = (v.requires_grad_(), u0.requires_grad_())
    weight = torch.randn(N, C, H, W)
    found = torch.autograd.grad((rate(*leaves, theta, T, delay=delay, **kind(neuron, theta)) * weight).sum(), leaves)
    expected = torch.autograd.grad((by_fire(*leaves, theta, T, neuron, delay) * weight).sum(), leaves)
    for have, want, leaf in zip(found, expected, leaves, strict=True):
        assert have.shape == leaf.shape
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)


def test_the_gradients_compared_are_not_zero_and_spikes_are_taken_back() -> None:
    v, u0, theta = made_case(0, 8)
    leaves = (v.requires_grad_(), u0.requires_grad_())
    for neuron in NEURONS:
        grad_v, grad_u0 = torch.autograd.grad(rate(*leaves, theta, 8, **kind(neuron, theta)).sum(), leaves)
        assert grad_v.count_nonzero() > grad_v.numel() / 4
        assert grad_u0.count_nonzero() == C
    for neuron in NEURONS[1:]:
        assert (rate(v, u0, theta, 8, **kind(neuron, theta)) < rate(v, u0, theta, 8)).any()


def test_the_negative_rectangle_by_hand() -> None:
    """u[1] = -3.5 (silent), u[2] = -4.5 (fires back, lower = -4); dL/dr = 2 is 1 for each spike, h = 1 / 4 there.

    dL/du[2] = 1/4, dL/du[1] = 1/4 + 1/4 (1 - 4 / 4).
    """
    v = torch.tensor([-3.5, -1.0]).view(2, 1, 1, 1, 1).requires_grad_()
    u0 = torch.zeros(1, 1, 1, 1, requires_grad=True)
    mean = rate(v, u0, torch.ones(1), 2, lower=torch.tensor([-4.0]))
    assert mean.item() == -0.5
    (2 * mean).sum().backward()
    assert v.grad is not None
    assert v.grad.flatten().tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("inputs", "grad_v"),
    [
        ([0.25, 0.5], [1.25, 1.25]),  # u = 0.75, 1.25, both open: dL/du[2] = 1.25, dL/du[1] = 1.25 + 1.25 (1 - 1)
        ([0.25, 0.75], [1.25, 0.0]),  # u = 0.75, 1.5: open, closed
        ([-0.25, 1.0], [1.25, 1.25]),  # u = 0.25, 1.25: closed, open; dL/du[1] = 1.25 (1 - 0)
        ([-0.25, 1.25], [0.0, 0.0]),  # u = 0.25, 1.5: both closed
    ],
)
def test_equation_21_by_hand(inputs: list[float], grad_v: list[float]) -> None:
    """theta = 1, u[1] is silent, u[2] fires; dL/dr = 2.5 is 1.25 for each of two spikes; h = 1 where it is open."""
    v = torch.tensor(inputs).view(2, 1, 1, 1, 1).requires_grad_()
    u0 = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    mean = rate(v, u0, torch.ones(1), 2)
    assert mean.item() == 0.5
    (2.5 * mean).sum().backward()
    assert v.grad is not None
    assert u0.grad is not None
    assert v.grad.flatten().tolist() == grad_v
    assert u0.grad.item() == grad_v[0]


def test_a_rectangle_is_open_at_its_ends() -> None:
    v = torch.full((1, 1, 1, 1, 1), 0.5, requires_grad=True)  # u = 0.5, exactly theta / 2
    rate(v, torch.zeros(1, 1, 1, 1), torch.ones(1), 1).sum().backward()
    assert v.grad is not None
    assert v.grad.item() == 0


@pytest.mark.parametrize("T", [1, 4])
def test_silence_has_neither_rate_nor_slope(T: int) -> None:
    v = torch.full((1, N, C, H, W), -9.0, requires_grad=True)
    mean = rate(v, torch.zeros(1, C, 1, 1), torch.ones(C), T, signed=True)
    mean.sum().backward()
    assert not mean.any()
    assert v.grad is not None
    assert not v.grad.any()


def test_memory_may_lie_in_any_order() -> None:
    """Channels last as a convolution leaves them, a slice of something larger, and a gradient that is expanded."""
    v, u0, theta = made_case(3, 6)
    expected = by_fire(v, u0, theta, 6, "signed", 1)
    last = v.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (6, N))
    wide = torch.zeros(6, N, C, H, 2 * W)
    wide[..., ::2] = v
    leaves = [x.requires_grad_() for x in (v, last.detach(), wide[..., ::2].detach())]
    for leaf in leaves:
        found = rate(leaf, u0, theta.repeat_interleave(2)[::2], 6, signed=True, delay=1)
        assert torch.equal(found, expected)
        found.sum().backward()
        assert leaf.grad is not None
        assert torch.equal(leaf.grad, leaves[0].grad)


def test_what_is_casestays_as_it_is() -> None:
    case = made_case(4, 5)
    kept = [x.clone() for x in case]
    rate(*case, 5, signed=True, delay=2)
    assert all(torch.equal(x, was) for x, was in zip(case, kept, strict=True))


def test_other_precisions_are_left_to_torch() -> None:
    v, u0, theta = (x.double() for x in made_case(5, 4))
    found = rate(v, u0, theta, 4)
    assert found.dtype == torch.float64
    assert torch.equal(found, by_fire(v, u0, theta, 4, "if", 0))


def test_only_the_potential_or_only_the_input_may_learn() -> None:
    v, u0, theta = made_case(6, 4)
    for leaf in (v, u0):
        leaf.requires_grad_()
        rate(v, u0, theta, 4).sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.any()
        leaf.requires_grad_(False)
        leaf.grad = None

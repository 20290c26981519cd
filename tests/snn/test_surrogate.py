"""Multi-step firing: forward against the step functions, backward against autograd through a readable reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spikedet.snn.functional import asymmetric_if_step, if_step, signed_if_step
from spikedet.snn.surrogate import fire

SHAPE = (2, 3, 2, 3)


class Spike(torch.autograd.Function):
    """s = 1 if u >= theta; ds/du = 1 / theta where |u - theta| < theta / 2 (equation 20)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, theta: Tensor) -> Tensor:
        ctx.save_for_backward(u, theta)
        return (u >= theta).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, theta = ctx.saved_tensors
        return torch.where((u - theta).abs() < theta / 2, grads[0] / theta, 0.0), None


class SpikeBack(torch.autograd.Function):
    """s = -1 if u < 0 and there is a spike to take back; the same rectangle, around 0."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, allowed: Tensor, theta: Tensor) -> Tensor:
        ctx.save_for_backward(u, allowed, theta)
        return -((u < 0) & allowed).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, allowed, theta = ctx.saved_tensors
        return torch.where(allowed & (u.abs() < theta / 2), grads[0] / theta, 0.0), None, None


class SpikeBelow(torch.autograd.Function):
    """s = -1 if u <= lower; ds/du = 1 / -lower where |u - lower| < -lower / 2."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, lower: Tensor) -> Tensor:
        ctx.save_for_backward(u, lower)
        return -(u <= lower).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, lower = ctx.saved_tensors
        return torch.where((u - lower).abs() < -lower / 2, grads[0] / -lower, 0.0), None


SLOPE = 0.25


def kind(neuron: str, theta: Tensor) -> dict[str, Any]:
    """The arguments that make a neuron of this kind."""
    return {"signed": neuron == "signed", "lower": -theta / SLOPE if neuron == "asymmetric" else None}


def fire_by_autograd(v: Tensor, u0: Tensor, theta: Tensor, neuron: str, delay: int) -> Tensor:
    """``fire``, with plain autograd through charge and soft reset."""
    T = len(v)
    u = u0.expand(v.shape[1:])
    count = torch.zeros_like(u)
    spikes = []
    for t in range(T + delay):
        u = u + v[t] if t < T else u
        if t < delay:
            continue
        s = Spike.apply(u, theta)
        back = torch.zeros_like(s)
        if neuron == "asymmetric":
            back = SpikeBelow.apply(u, -theta / SLOPE)
        elif neuron == "signed":
            back = SpikeBack.apply(u, count > 0, theta)
            count = count + s.detach() + back.detach()
        u = u - theta * s - (theta / SLOPE if neuron == "asymmetric" else theta) * back
        s = s + back
        spikes.append(s)
    return torch.stack(spikes)


def made_case(seed: int, T: int, u0_shape: tuple[int, ...] = (1, 3, 1, 1)) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs that make neurons fire and take back; float64; leaves with gradients, and thresholds."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(T, *SHAPE, generator=generator, dtype=torch.float64) * 1.2 + 0.2
    theta = torch.rand(1, 3, 1, 1, generator=generator, dtype=torch.float64) + 0.5
    u0 = torch.rand(u0_shape, generator=generator, dtype=torch.float64)
    return v.requires_grad_(), u0.requires_grad_(), theta


steps = st.integers(1, 12)
delays = st.integers(0, 3)
seeds = st.integers(0, 2**16)


@given(seed=seeds, T=steps, neuron=st.sampled_from(["if", "signed", "asymmetric"]), delay=delays)
def test_forward_equals_the_step_functions(seed: int, T: int, neuron: str, delay: int) -> None:
    v, u0, theta = (x.detach().float() for x in made_case(seed, T))
    u = u0.expand(SHAPE)
    count, expected = torch.zeros(SHAPE), []
    for t in range(T + delay):
        current = v[t] if t < T else torch.zeros(SHAPE)
        if t < delay:
            u = u + current
        elif neuron == "asymmetric":
            s, u = asymmetric_if_step(current, u, theta, -theta / SLOPE)
            expected.append(s)
        elif neuron == "signed":
            s, u, count = signed_if_step(current, u, count, theta)
            expected.append(s)
        else:
            s, u = if_step(current, u, theta)
            expected.append(s)
    assert torch.equal(fire(v, u0, theta, delay=delay, **kind(neuron, theta)), torch.stack(expected))


@given(seed=seeds, T=steps, neuron=st.sampled_from(["if", "signed", "asymmetric"]), delay=delays)
def test_gradient_equals_autograd(seed: int, T: int, neuron: str, delay: int) -> None:
    """In float64; the two sum in another order, hence 1e-12."""
    v, u0, theta = made_case(seed, T)
    weight = torch.randn(T, *SHAPE, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    slow, fast = (
        fire_by_autograd(v, u0, theta, neuron, delay),
        fire(v, u0, theta, delay=delay, **kind(neuron, theta)),
    )
    assert torch.equal(slow, fast)
    expected = torch.autograd.grad((slow * weight).sum(), (v, u0))
    got = torch.autograd.grad((fast * weight).sum(), (v, u0))
    for want, have in zip(expected, got, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12)


def test_the_gradient_test_sees_gradients_and_negative_spikes() -> None:
    v, u0, theta = made_case(0, 12)
    spikes = fire(v, u0, theta, signed=True)
    assert set(spikes.unique().tolist()) == {-1.0, 0.0, 1.0}
    grad_v, grad_u0 = torch.autograd.grad(spikes.sum(), (v, u0))
    assert grad_v.count_nonzero() > grad_v.numel() / 4
    assert grad_u0.count_nonzero() == 3


@pytest.mark.parametrize("u0_shape", [(1, 3, 1, 1), (3, 1, 1), (1, 3, 2, 3), (3, 2, 3), (1, 1, 1, 1), SHAPE])
def test_initial_potential_has_a_gradient_of_its_own_shape(u0_shape: tuple[int, ...]) -> None:
    v, u0, theta = made_case(1, 5, u0_shape)
    want = torch.autograd.grad(fire_by_autograd(v, u0, theta, "if", 1).sum(), u0)[0]
    have = torch.autograd.grad(fire(v, u0, theta, delay=1).sum(), u0)[0]
    assert have.shape == u0_shape
    torch.testing.assert_close(have, want, rtol=1e-12, atol=1e-12)


def one_neuron(values: list[float]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("inputs", "grad_v"),
    [
        # theta = 1, u[1] is silent, u[2] fires; dL/ds = (2, 3); h = 1 where the rectangle is open
        ([0.25, 0.5], [2.0, 3.0]),  # u = 0.75, 1.25, both open: dL/du[2] = 3, dL/du[1] = 2 + 3 (1 - 1)
        ([0.25, 0.75], [2.0, 0.0]),  # u = 0.75, 1.5: open, closed
        ([-0.25, 1.0], [3.0, 3.0]),  # u = 0.25, 1.25: closed, open; dL/du[1] = 3 (1 - 0)
        ([-0.25, 1.25], [0.0, 0.0]),  # u = 0.25, 1.5: both closed
    ],
)
def test_equation_21_by_hand(inputs: list[float], grad_v: list[float]) -> None:
    v = one_neuron(inputs).requires_grad_()
    u0 = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    spikes = fire(v, u0, torch.ones(1, 1, 1, 1))
    assert spikes.flatten().tolist() == [0, 1]
    (spikes * one_neuron([2.0, 3.0])).sum().backward()
    assert v.grad is not None
    assert u0.grad is not None
    assert v.grad.flatten().tolist() == grad_v
    assert u0.grad.item() == grad_v[0]


def test_a_rectangle_is_open_at_its_ends() -> None:
    v = one_neuron([0.5]).requires_grad_()  # u = 0.5, exactly theta / 2
    fire(v, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).sum().backward()
    assert v.grad is not None
    assert v.grad.item() == 0


def test_the_rectangle_is_as_wide_as_theta() -> None:
    v = one_neuron([1.5]).requires_grad_()  # 0.5 below theta = 2
    fire(v, torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0)).sum().backward()
    assert v.grad is not None
    assert v.grad.item() == 0.5


def test_delay_by_hand() -> None:
    """Integrates 2 steps, then fires for T = 2 steps; the first decision sees the whole input."""
    v = one_neuron([-1.0, 1.75]).requires_grad_()
    u0 = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    spikes = fire(v, u0, torch.ones(1, 1, 1, 1), delay=2)
    assert fire(v, u0, torch.ones(1, 1, 1, 1)).flatten().tolist() == [0, 1]
    assert spikes.flatten().tolist() == [1, 0]  # u = 1.25 fires, then 0.25
    spikes[0].sum().backward()
    assert v.grad is not None
    assert u0.grad is not None
    assert v.grad.flatten().tolist() == [1, 1]
    assert u0.grad.item() == 1


def test_takes_back_only_where_there_was_a_spike() -> None:
    """Two neurons at u = -0.25; only the one that fired before has a slope there."""
    v = torch.tensor([[1.0, 0.0], [-0.75, -0.75]]).view(2, 1, 2, 1, 1).requires_grad_()
    u0 = torch.full((1, 2, 1, 1), 0.5)
    spikes = fire(v, u0, torch.ones(1, 1, 1, 1), signed=True)
    assert spikes.flatten().tolist() == [1, 0, -1, 0]
    spikes[1].sum().backward()
    assert v.grad is not None
    assert v.grad[1].flatten().tolist() == [1, 0]


def test_a_silent_layer_without_slope_has_no_gradient() -> None:
    v = torch.full((4, *SHAPE), -5.0, requires_grad=True)
    spikes = fire(v, torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 3, 1, 1))
    spikes.sum().backward()
    assert v.grad is not None
    assert not spikes.any()
    assert not v.grad.any()

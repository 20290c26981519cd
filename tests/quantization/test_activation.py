"""The clip and QC activations: values against the definition, gradients by hand and against autograd."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from snn_reference import rate_of_constant_input
from torch import Tensor

from spikedet.quantization import ClippedReLU, QCActivation, leaky_clip, qc_quantize

sixty_fourths = st.integers(-128, 400).map(lambda n: Fraction(n, 64))
dyadic_thetas = st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4)])


def definition(x: Fraction, theta: Fraction, T: int) -> Fraction:
    """theta clip(floor(x T / theta + 1/2) / T, 0, 1) in exact arithmetic."""
    return theta * min(max(Fraction(math.floor(x * T / theta + Fraction(1, 2)), T), Fraction(0)), Fraction(1))


@given(xs=st.lists(sixty_fourths, min_size=1, max_size=8), theta=dyadic_thetas, T=st.integers(1, 64))
def test_value_is_the_definition(xs: list[Fraction], theta: Fraction, T: int) -> None:
    x = torch.tensor([float(v) for v in xs]).view(1, 1, -1, 1)
    got = qc_quantize(x, torch.tensor([float(theta)]), T)
    expected = torch.tensor([float(definition(v, theta, T)) for v in xs]).view_as(x)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("T", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("theta", [0.5, 1.0, 4.0])
def test_rounds_half_up(T: int, theta: float) -> None:
    """x between two levels goes to the upper one, also from an even level, where torch.round goes down."""
    if T == 3:
        theta *= 3  # so that the boundaries are dyadic
    boundaries = (torch.arange(-1, T + 1) + 0.5) * theta / T
    got = qc_quantize(boundaries.view(1, 1, -1, 1), torch.tensor([theta]), T).flatten() * T / theta
    assert got.tolist() == [0, *range(1, T + 1), T]
    below = (boundaries - theta / 1024).view(1, 1, -1, 1)
    assert (qc_quantize(below, torch.tensor([theta]), T).flatten() * T / theta).tolist() == [0, *range(T + 1)]


@given(x=sixty_fourths, theta=dyadic_thetas, T=st.integers(1, 64))
def test_level_is_the_spike_count_of_a_constant_input(x: Fraction, theta: Fraction, T: int) -> None:
    value, threshold = torch.tensor(float(x)), torch.tensor(float(theta))
    level = qc_quantize(value.view(1, 1, 1, 1), threshold.view(1), T) * T / threshold
    assert level.round() == rate_of_constant_input(value, threshold, T)


def test_one_time_step_is_all_or_nothing() -> None:
    x = torch.tensor([-1.0, 0.0, 0.99, 1.0, 1.5, 2.0, 9.0]).view(1, 1, -1, 1)
    assert qc_quantize(x, torch.tensor([2.0]), 1).flatten().tolist() == [0, 0, 0, 2, 2, 2, 2]


def test_per_channel_equals_each_channel_alone() -> None:
    torch.manual_seed(0)
    x, theta = torch.randn(2, 3, 5, 4), torch.tensor([0.3, 1.0, 2.5])
    whole = qc_quantize(x, theta, 4)
    for c in range(3):
        assert torch.equal(whole[:, c : c + 1], qc_quantize(x[:, c : c + 1], theta[c : c + 1], 4))


# --- the leaky forms ------------------------------------------------------------------------------------------------

SLOPE = 0.25


def leaky_definition(x: Fraction, theta: Fraction, T: int) -> Fraction:
    """As ``definition`` from 0 up; below, minus the spikes of an asymmetric neuron, in exact arithmetic."""
    if x >= 0:
        return definition(x, theta, T)
    spikes, u = 0, theta / 2
    for _ in range(T):
        u += x
        if u <= -theta / Fraction(SLOPE):
            spikes, u = spikes + 1, u + theta / Fraction(SLOPE)
    return -theta * Fraction(spikes, T)


@given(xs=st.lists(st.integers(-1024, 400).map(lambda n: Fraction(n, 64)), min_size=1, max_size=8),
       theta=dyadic_thetas, T=st.integers(1, 64))  # fmt: skip
def test_leaky_value_is_the_definition_and_the_spike_count(xs: list[Fraction], theta: Fraction, T: int) -> None:
    x, threshold = torch.tensor([float(v) for v in xs]).view(1, 1, -1, 1), torch.tensor([float(theta)])
    got = qc_quantize(x, threshold, T, slope=SLOPE)
    assert torch.equal(got, torch.tensor([float(leaky_definition(v, theta, T)) for v in xs]).view_as(x))
    assert torch.equal((got * T / threshold).round(), rate_of_constant_input(x, threshold, T, SLOPE))


def test_leaky_gradients_by_hand() -> None:
    """theta 2, T 4, slope 1/4: -1 and -40 lie inside and beyond the negative clip, 1.2 and 5 the positive one."""
    x = torch.tensor([-1.0, -40.0, 1.2, 5.0]).view(1, 1, 4, 1).requires_grad_()
    theta = torch.tensor([2.0], requires_grad=True)
    clipped = leaky_clip(x, theta, SLOPE)
    assert clipped.flatten().tolist() == pytest.approx([-0.25, -2.0, 1.2, 2.0])
    slopes, to_theta = torch.autograd.grad(clipped.sum(), (x, theta))
    assert slopes.flatten().tolist() == [0.25, 0.0, 1.0, 0.0]
    assert to_theta.item() == 0.0  # -1 where the negative side is clipped, +1 where the positive is
    quantized = qc_quantize(x, theta, 4, slope=SLOPE)
    assert quantized.flatten().tolist() == [0.0, -2.0, 1.0, 2.0]
    slopes, to_theta = torch.autograd.grad(quantized.sum(), (x, theta))
    assert slopes.flatten().tolist() == [0.25, 0.0, 1.0, 0.0]
    # (g - x g') / theta: (0 + 0.25) / 2, -1, (1 - 1.2) / 2, 1
    assert to_theta.item() == pytest.approx(0.125 - 1 - 0.1 + 1)


def test_leaky_modules_keep_their_slope() -> None:
    clip = ClippedReLU(3, 1.5, 0.1)
    quantized = QCActivation.from_clip(clip, T=4)
    assert (quantized.slope, ClippedReLU.from_clip(quantized).slope) == (0.1, 0.1)
    x = torch.randn(2, 3, 4, 4) * 40
    assert torch.equal(quantized(x), qc_quantize(x, clip.theta, 4, slope=0.1))
    assert quantized(x).min() == -clip.theta.min()
    assert "slope=0.1" in repr(clip)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (3, 4, 5, 2), (0, 4, 5, 2)])
def test_any_number_of_places(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    assert qc_quantize(x, torch.full((4,), 0.7), 4).shape == shape
    assert ClippedReLU(4)(x).shape == shape


def test_bfloat16_is_rounded_as_the_float32_it_stands_for() -> None:
    torch.manual_seed(0)
    x = (torch.randn(4, 3, 16, 16) * 2).bfloat16()
    theta = torch.tensor([0.7, 1.3, 3.1])
    got = qc_quantize(x, theta, 32)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, qc_quantize(x.float(), theta, 32).bfloat16())


def test_qc_gradient_by_hand() -> None:
    """theta = 1, T = 4: below, inside (0.3 -> 0.25), above by less than half a level, far above."""
    x = torch.tensor([-1.0, 0.3, 1.1, 5.0]).view(1, 1, 4, 1).requires_grad_()
    theta = torch.tensor([1.0], requires_grad=True)
    out = qc_quantize(x, theta, 4)
    assert out.flatten().tolist() == [0, 0.25, 1, 1]
    for place, (dx, dtheta) in enumerate([(0, 0), (1, 0.25 - 0.3), (1, 1 - 1.1), (0, 1)]):
        grad_x, grad_theta = torch.autograd.grad(out[0, 0, place, 0], (x, theta), retain_graph=True)
        assert grad_x.flatten()[place] == dx
        assert grad_x.count_nonzero() == dx
        assert grad_theta.item() == pytest.approx(dtheta, abs=1e-7)  # float32 of x = 0.3


def test_unquantized_elements_have_the_clip_and_its_gradient() -> None:
    x = torch.tensor([-1.0, 0.3, 0.3, 5.0]).view(1, 1, 4, 1).requires_grad_()
    theta = torch.tensor([1.0], requires_grad=True)
    kept = torch.tensor([True, True, False, True]).view(1, 1, 4, 1)
    out = qc_quantize(x, theta, 4, kept)
    assert out.flatten().tolist() == pytest.approx([0, 0.3, 0.25, 1])
    for place, (dx, dtheta) in enumerate([(0, 0), (1, 0), (1, -0.05), (0, 1)]):
        grad_x, grad_theta = torch.autograd.grad(out[0, 0, place, 0], (x, theta), retain_graph=True)
        assert grad_x.flatten()[place] == dx
        assert grad_theta.item() == pytest.approx(dtheta, abs=1e-7)


class StraightThroughFloor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.floor(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class Clip(torch.autograd.Function):
    """clip(x, 0, 1), its ends included in the slope: every level of T = 1 lies on one (torch.clamp leaves them out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * ((x >= 0) & (x <= 1))


def slow_qc(x: Tensor, theta: Tensor, T: int, kept: Tensor | None) -> Tensor:
    """g by autograd: straight through the floor, ordinary elsewhere."""
    theta = theta.view(1, -1, 1, 1)
    scaled = x * T / theta
    rounded: Tensor = StraightThroughFloor.apply(scaled + 0.5)
    if kept is not None:
        rounded = torch.where(kept, scaled, rounded)
    return theta * Clip.apply(rounded / T)


@pytest.mark.parametrize("scope", ["channel", "layer"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@given(seed=st.integers(0, 2**16), T=st.integers(1, 16))
def test_gradient_equals_autograd(scope: str, noise: float, seed: int, T: int) -> None:
    """float32 on both sides, sums of 60 terms in another order: 1e-5."""
    torch.manual_seed(seed)
    x = (torch.randn(2, 3, 5, 2) * 2).requires_grad_()
    theta = (torch.rand(3 if scope == "channel" else 1) + 0.3).requires_grad_()
    kept = torch.rand(x.shape) < noise if noise else None
    weight = torch.randn_like(x)
    expected = torch.autograd.grad((slow_qc(x, theta, T, kept) * weight).sum(), (x, theta))
    got = torch.autograd.grad((qc_quantize(x, theta, T, kept) * weight).sum(), (x, theta))
    torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got[1], expected[1], rtol=1e-5, atol=1e-5)
    assert got[1].shape == theta.shape


def test_bfloat16_gradients_have_the_types_of_their_tensors() -> None:
    x = torch.randn(1, 2, 3, 3).bfloat16().requires_grad_()
    theta = torch.ones(2, requires_grad=True)
    qc_quantize(x, theta, 4).sum().backward()
    assert x.grad is not None
    assert theta.grad is not None
    assert (x.grad.dtype, theta.grad.dtype) == (torch.bfloat16, torch.float32)


# --- modules -----------------------------------------------------------------------------------------------------


def test_clip_by_hand() -> None:
    clip = ClippedReLU(2, theta=1.0)
    clip.set_theta(torch.tensor([1.0, 4.0]))
    x = torch.tensor([[-1.0, 0.5, 3.0, 9.0]] * 2).view(1, 2, 4, 1).requires_grad_()
    out = clip(x)
    assert out.flatten().tolist() == [0, 0.5, 1, 1, 0, 0.5, 3, 4]
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0, 1, 0, 0, 0, 1, 1, 0]
    # d/d log theta = theta x (number of clipped places)
    assert clip.log_theta.grad is not None
    assert clip.log_theta.grad.tolist() == [2.0, 4.0]


def test_clip_of_a_whole_layer_sums_its_gradient() -> None:
    clip = ClippedReLU(1, theta=2.0)
    clip(torch.full((2, 3, 1, 1), 5.0)).sum().backward()
    assert clip.log_theta.grad is not None
    assert clip.log_theta.grad.item() == pytest.approx(2.0 * 6)


@pytest.mark.parametrize("made", [ClippedReLU(3, 4.0), QCActivation(3, 4.0, T=4)])
def test_theta_stays_positive_whatever_the_optimizer_does(made: ClippedReLU) -> None:
    optimizer = torch.optim.SGD(made.parameters(), lr=0.5)
    for _ in range(100):
        optimizer.zero_grad()
        made(torch.full((1, 3, 2, 2), 9.0)).sum().backward()
        optimizer.step()
    assert (made.theta > 0).all()
    assert (made.theta < 4).all()


def test_set_theta_keeps_values_and_positivity() -> None:
    clip = ClippedReLU(1)
    clip.set_theta(torch.tensor([0.25, 2.0, 0.0]))
    assert clip.theta.shape == (3,)
    torch.testing.assert_close(clip.theta, torch.tensor([0.25, 2.0, 1e-8]))
    assert isinstance(clip.log_theta, torch.nn.Parameter)


def test_qc_starts_at_the_theta_of_its_clip_and_owns_it() -> None:
    clip = ClippedReLU(3)
    clip.set_theta(torch.tensor([1.0, 2.0, 3.0]))
    qc = QCActivation.from_clip(clip.eval(), T=8, noise=0.1)
    assert torch.equal(qc.theta, clip.theta)
    assert (qc.T, qc.noise, qc.training) == (8, 0.1, False)
    torch.nn.init.zeros_(qc.log_theta)
    assert clip.theta.detach().tolist() == pytest.approx([1, 2, 3])


def unquantized(out: Tensor, T: int) -> float:
    """Fraction of values that are not levels, theta = 1."""
    levels = out * T
    return ((levels - levels.round()).abs() > 1e-4).float().mean().item()


def test_noise_leaves_a_fraction_p_unquantized_in_training_and_none_at_evaluation() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 4, 50, 50) * 0.98 + 0.01  # within (0, theta)
    qc = QCActivation(1, 1.0, T=4, noise=0.3)
    # 40,000 draws: five standard deviations are 0.0115; and 0.02 % of the values lie on a level by chance
    assert unquantized(qc.train()(x), 4) == pytest.approx(0.3, abs=0.0125)
    assert unquantized(qc.eval()(x), 4) == 0
    assert torch.equal(qc(x), qc_quantize(x, qc.theta, 4))


def test_noise_is_drawn_anew_for_every_forward() -> None:
    torch.manual_seed(0)
    qc, x = QCActivation(1, 1.0, T=2, noise=0.5).train(), torch.rand(1, 1, 20, 20)
    assert not torch.equal(qc(x), qc(x))


def test_noise_of_one_is_the_clip_and_noise_of_none_draws_nothing() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    everything = QCActivation(3, 1.0, T=4, noise=1.0).train()
    torch.testing.assert_close(everything(x), ClippedReLU(3, 1.0)(x))
    state = torch.get_rng_state()
    nothing = QCActivation(3, 1.0, T=4).train()
    assert torch.equal(nothing(x), nothing.eval()(x))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"T": 0}, "T must be at least 1, got 0"),
        ({"T": 4, "noise": 1.5}, r"fraction in \[0, 1\], got 1.5"),
        ({"T": 4, "noise": -0.1}, r"fraction in \[0, 1\], got -0.1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QCActivation(**settings)  # type: ignore[arg-type]

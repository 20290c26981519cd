"""The activation of direct training: one step a call, its state, and what it refuses."""

from __future__ import annotations

import copy

import pytest
import torch
from snn_reference import dyadic

from spikedet.config import Reset
from spikedet.quantization import ClippedReLU
from spikedet.snn import CurrentLIF
from spikedet.snn.functional import clif_step


def neurons(reset_rule: Reset = "hard") -> CurrentLIF:
    made = CurrentLIF(3, reset_rule=reset_rule)
    made.set_theta(torch.tensor([0.5, 1.0, 2.0]))
    return made


@pytest.mark.parametrize("reset_rule", ["hard", "soft"])
def test_calls_are_steps(reset_rule: Reset) -> None:
    torch.manual_seed(0)
    train, made = dyadic(5, 2, 3, 4, 6), neurons(reset_rule)
    theta = made.theta.detach().view(1, 3, 1, 1)
    c = v = torch.zeros(2, 3, 4, 6)
    for x in train:
        s, c, v = clif_step(x, c, v, theta, (0.5, 0.75), reset_rule)
        assert torch.equal(made(x), theta * s)


def test_after_a_reset_it_starts_anew_on_another_batch() -> None:
    torch.manual_seed(0)
    made, x = neurons(), dyadic(2, 3, 4, 6)
    first = [made(x), made(x)]
    made.reset()
    made(dyadic(1, 3, 8, 8))
    made.reset()
    assert torch.equal(first[0], made(x))
    assert torch.equal(first[1], made(x))


def test_default_decays_are_exact_and_trained_ones_get_a_gradient() -> None:
    made = neurons()
    assert made.decays == (0.5, 0.75)
    assert "logit_decays" not in dict(made.named_parameters())
    made.train_decays_()
    for _ in range(2):
        out = made(torch.ones(1, 3, 2, 2) * 0.4)
    out.sum().backward()
    assert made.logit_decays.grad is not None
    assert made.logit_decays.grad.abs().min() > 0
    assert made.state_dict().keys() == neurons().state_dict().keys()


def test_the_gradient_ends_at_the_step_before_unless_it_goes_through_time() -> None:
    for through_time in (False, True):
        made = neurons()
        made.through_time = through_time
        x = [torch.full((1, 3, 1, 1), 0.4, requires_grad=True) for _ in range(2)]
        out = [made(step) for step in x][1]
        out.sum().backward()
        assert (x[0].grad is not None) == through_time
        assert x[1].grad is not None
        assert x[1].grad.abs().sum() > 0


def test_in_bfloat16_the_state_stays_float32() -> None:
    made = neurons()
    out = made(torch.full((1, 3, 1, 1), 0.3, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert made.state is not None
    assert {part.dtype for part in made.state} == {torch.float32}


def test_a_linear_layer_sends_its_current_and_leaky_ones_are_refused() -> None:
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(CurrentLIF(2, slope=1.0)(x), x)
    with pytest.raises(ValueError, match=r"no negative spikes; expected slope 0"):
        CurrentLIF(2, slope=0.1)


def test_thetas_and_decays_are_taken_over() -> None:
    clip = ClippedReLU(2)
    clip.set_theta(torch.tensor([0.25, 3.0]))
    made = CurrentLIF.from_clip(clip, reset_rule="soft")
    made.logit_decays = torch.tensor([0.1, 0.2])
    again = CurrentLIF.from_clip(made, reset_rule="soft")
    assert torch.equal(again.theta, clip.theta)
    assert again.decays == made.decays != (0.5, 0.75)
    made.logit_decays += 1
    assert again.decays != made.decays
    copy.deepcopy(again)

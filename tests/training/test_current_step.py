"""Learning with the current time step: gradients against one graph of all steps, skipping, memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from tiny_detector import IMAGE_SIZE, detector
from torch import Tensor

from spikedet.models import ClipDetector, over_time
from spikedet.snn import CurrentLIF
from spikedet.training.current_step import CurrentStepLearning


def network(T: int) -> ClipDetector:
    return over_time(detector(), T, CurrentLIF.from_clip).eval()


def images() -> Tensor:
    torch.manual_seed(5)
    return torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)


def criterion(maps: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Nonlinear, so that it matters at which mean its gradient is taken."""
    loss = maps["scores"].sigmoid().square().sum() + maps["boxes"].square().mean()
    return loss.view(1), {"loss": loss.detach()}


def gradients(model: ClipDetector) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


class Chosen(CurrentStepLearning):
    """With a schedule of its own."""

    def __init__(self, *chosen: int) -> None:
        super().__init__()
        self.chosen = list(chosen)

    def steps(self, T: int) -> list[int]:
        return self.chosen


@pytest.mark.parametrize("chosen", [(1, 2, 3, 4), (1, 2, 4), (2, 4), (2, 3), (1,), (4,)])
def test_gradients_are_those_of_one_graph(chosen: tuple[int, ...]) -> None:
    model = network(4)
    loss, items = Chosen(*chosen)(model, images(), criterion)
    loss.sum().backward()
    found = gradients(model)
    model.zero_grad()
    with model.time() as step:
        maps = [step(images()) for _ in range(4)]
    mean = {}
    for name in ("boxes", "scores"):
        learning = torch.stack([maps[t - 1][name] for t in chosen]).mean(0)
        mean[name] = torch.stack([one[name] for one in maps]).detach().mean(0) + learning - learning.detach()
    criterion(mean)[0].sum().backward()
    expected = gradients(model)
    assert found.keys() == expected.keys()
    assert max(value.abs().max() for value in found.values()) > 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5 * value.abs().max().item() + 1e-9)
    assert items["loss"] == loss.detach()


def test_the_loss_is_that_of_the_whole_network() -> None:
    model = network(3)
    loss, _ = Chosen(1)(model, images(), criterion)
    torch.testing.assert_close(loss, criterion(model(images())[1])[0])


def test_skipping_draws_every_step_alike() -> None:
    torch.manual_seed(0)
    learning = CurrentStepLearning(skip=1)
    drawn = [learning.steps(4) for _ in range(400)]
    assert all(len(steps) == 3 == len({*steps}) and steps == sorted(steps) for steps in drawn)
    counts = Counter(step for steps in drawn for step in steps)
    assert sorted(counts) == [1, 2, 3, 4]
    assert min(counts.values()) > 250
    torch.manual_seed(0)
    assert [learning.steps(4) for _ in range(400)] == drawn


@pytest.mark.parametrize(
    ("chosen", "first", "again"),
    [
        ((5,), "....x", ""),
        ((2, 5), ".x..x", ""),
        ((2, 3), ".xx..", ""),
        ((2, 3, 5), "..x.x", "x"),
        ((1, 3, 4, 5), "...xx", "x.x"),
    ],
)
def test_the_last_graphs_are_held_and_steps_before_run_twice(chosen: tuple[int, ...], first: str, again: str) -> None:
    """Only those between the first and the last that is not held; x is a step with a graph."""
    model, calls = network(5), []
    model.model[0].register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    Chosen(*chosen)(model, images(), criterion)
    assert "".join("x" if graph else "." for graph in calls) == first + again


def test_running_statistics_are_those_of_one_run() -> None:
    found = []
    for learning in (Chosen(1, 2, 3), Chosen(3)):
        model = network(3).train()
        learning(model, images(), criterion)
        found.append({n: b for n, b in model.named_buffers() if "running" in n})
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert any(not torch.equal(value, dict(detector().named_buffers())[name]) for name, value in found[0].items())


class SavedBytes:
    """Most bytes that graphs hold at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def pack(self, value: Tensor) -> Any:
        self.now += value.numel() * value.element_size()
        self.most = max(self.most, self.now)
        return _Held(value, self)


class _Held:
    def __init__(self, value: Tensor, owner: SavedBytes) -> None:
        self.value, self.owner = value, owner

    def __del__(self) -> None:
        self.owner.now -= self.value.numel() * self.value.element_size()


def peak(T: int, *, through_time: bool) -> int:
    model, saved = network(T), SavedBytes()
    for activation in model.modules():
        if isinstance(activation, CurrentLIF):
            activation.through_time = through_time
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda held: held.value):
        if through_time:
            criterion(model(images())[1])[0].sum().backward()
        else:
            CurrentStepLearning()(model, images(), criterion)[0].sum().backward()
    return saved.most


def test_memory_does_not_grow_with_time() -> None:
    short, long = peak(2, through_time=False), peak(16, through_time=False)
    assert long <= 1.01 * short
    assert peak(16, through_time=True) > 7 * peak(2, through_time=True)

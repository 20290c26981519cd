"""The compiled step of C-LIF beside the torch code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spikedet.config import Reset
from spikedet.kernels.library import available
from spikedet.quantization import compiled
from spikedet.snn import CurrentLIF

pytestmark = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")

every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def neurons(count: int, reset_rule: Reset, width: float, trained: bool) -> CurrentLIF:
    made = CurrentLIF(count, reset_rule=reset_rule)
    made.set_theta(torch.linspace(0.3, 2.1, count))
    made.width = width
    if trained:
        made.train_decays_()
    return made


def run(made: CurrentLIF, train: Tensor, weight: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and states of all steps, and the gradients of inputs and parameters."""
    made.reset()
    kept, leaves = [], [x.clone(memory_format=torch.channels_last).requires_grad_() for x in train]
    loss = torch.zeros(())
    for leaf, factor in zip(leaves, weight, strict=True):
        out = made(leaf)
        assert made.state is not None
        kept += [out.detach(), *made.state]
        loss = loss + (out * factor).float().sum()
    made.zero_grad()
    loss.backward()
    return kept, [*(leaf.grad for leaf in leaves), *(p.grad for p in made.parameters())]  # type: ignore[misc]


@every_type
@pytest.mark.parametrize("reset_rule", ["hard", "soft"])
@pytest.mark.parametrize("count", [5, 1])
@pytest.mark.parametrize(("width", "trained"), [(1.0, False), (0.5, True), (1.7, True)])
def test_spikes_states_and_gradients_are_those_of_torch(
    dtype: torch.dtype,
    reset_rule: Reset,
    count: int,
    width: float,
    trained: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    train, weight = (torch.randn(4, 3, 5, 17, 19).to(dtype) for _ in range(2))
    made = neurons(count, reset_rule, width, trained)
    assert compiled.applies(train[0].contiguous(memory_format=torch.channels_last))
    kept, grads = run(made, train, weight)
    monkeypatch.setattr(compiled, "applies", lambda _: False)
    kept_by_torch, grads_by_torch = run(made, train, weight)
    for ours, torchs in zip(kept + grads[:4], kept_by_torch + grads_by_torch[:4], strict=True):
        assert torch.equal(ours, torchs)
        assert ours.dtype == torchs.dtype
    assert len(grads) == len(grads_by_torch) == 5 + trained
    for ours, torchs in zip(grads[4:], grads_by_torch[4:], strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-3)


@every_type
def test_without_a_graph_it_is_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    train = torch.randn(3, 2, 4, 6, 8).to(dtype)
    made = neurons(4, "hard", 1.0, True)
    with torch.no_grad():
        quiet = [made(x.contiguous(memory_format=torch.channels_last)) for x in train]
    made.reset()
    for x, expected in zip(train, quiet, strict=True):
        out = made(x.contiguous(memory_format=torch.channels_last))
        assert out.requires_grad and not expected.requires_grad
        assert torch.equal(out.detach(), expected)


def test_threads_change_no_bit() -> None:
    torch.manual_seed(0)
    train, weight = (torch.randn(2, 2, 5, 40, 40) for _ in range(2))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            kept, grads = run(neurons(5, "soft", 1.0, True), train, weight)
            found.append([*kept, *grads])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))

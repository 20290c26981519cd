"""The state of an unfinished training: resuming goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from spikedet.checkpoint.state import finite, load_adam_, load_state, save_state
from spikedet.common.errors import CheckpointError


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def groups_of(model: nn.Module) -> list[dict[str, Any]]:
    weights, rest = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]
    return [{"params": weights, "weight_decay": 0.1, "param_group": "weight"}, {"params": rest, "lr": 0.02}]


def adamw(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups_of(model), lr=0.01, betas=(0.8, 0.99))


def made_optimizer(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "SGD":
        return torch.optim.SGD(groups_of(model), lr=0.01, momentum=0.9, nesterov=True)
    return adamw(model)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_resumed_training_is_bit_identical(kind: str, tmp_path: Path) -> None:
    model = small_network()
    optimizer = made_optimizer(kind, model)
    for seed in range(3):
        step(model, optimizer, seed)
    save_state(tmp_path / "last.safetensors", {"model": model.state_dict()}, optimizer.state_dict(), {"epoch": 2})

    other = small_network()
    resumed = made_optimizer(kind, other)
    modules, state, facts = load_state(tmp_path / "last.safetensors")
    other.load_state_dict(modules["model"])
    resumed.load_state_dict(state)
    assert facts == {"epoch": 2}
    for seed in range(3, 6):
        step(model, optimizer, seed)
        step(other, resumed, seed)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_every_part_comes_back_by_name_and_type(tmp_path: Path) -> None:
    model = small_network()
    optimizer = made_optimizer("AdamW", model)
    step(model, optimizer, 0)
    averaged = {name: value.clone() + 1 for name, value in model.state_dict().items()}
    facts = {"epoch": 0, "best": None, "stopper": [0.5, 3]}
    save_state(
        tmp_path / "s.safetensors", {"model": model.state_dict(), "ema": averaged}, optimizer.state_dict(), facts
    )
    modules, state, back = load_state(tmp_path / "s.safetensors")
    assert back == facts
    assert modules.keys() == {"model", "ema"}
    for part, expected in (("model", model.state_dict()), ("ema", averaged)):
        assert modules[part].keys() == expected.keys()
        assert all(torch.equal(modules[part][n], v) and modules[part][n].dtype == v.dtype for n, v in expected.items())
    saved = optimizer.state_dict()
    assert state["state"].keys() == saved["state"].keys()
    assert [group["params"] for group in state["param_groups"]] == [group["params"] for group in saved["param_groups"]]
    assert state["param_groups"][0]["param_group"] == "weight"


Damage = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]
"""Of an optimizer's state, its first group and what it keeps of its first parameter, in place."""

DAMAGES: dict[str, Damage] = {
    "a group less": lambda saved, group, slots: saved["param_groups"].pop(),
    "a beta that is a word": lambda saved, group, slots: group.update(betas=["x", 0.99]),
    "another weight decay": lambda saved, group, slots: group.update(weight_decay=0.2),
    "a negative learning rate": lambda saved, group, slots: group.update(lr=-1.0),
    "no learning rate": lambda saved, group, slots: group.pop("lr"),
    "a learning rate of nan": lambda saved, group, slots: group.update(lr=float("nan")),
    "a flag set": lambda saved, group, slots: group.update(capturable=True),
    "a parameter that is not there": lambda saved, group, slots: saved["state"].update({9: slots}),
    "a moment missing": lambda saved, group, slots: slots.pop("exp_avg_sq"),
    "one too many": lambda saved, group, slots: slots.update(max_exp_avg_sq=slots["exp_avg_sq"]),
    "a moment of another shape": lambda saved, group, slots: slots.update(exp_avg=slots["exp_avg"][:1]),
    "a moment of another type": lambda saved, group, slots: slots.update(exp_avg=slots["exp_avg"].cfloat()),
    "steps below zero": lambda saved, group, slots: slots.update(step=torch.tensor(-2.0)),
    "steps that are no tensor": lambda saved, group, slots: slots.update(step=3.0),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_state_of_an_optimizer_is_refused(damage: Damage, tmp_path: Path) -> None:
    model = small_network()
    optimizer = adamw(model)
    step(model, optimizer, 0)
    path = tmp_path / "s.safetensors"
    save_state(path, {"model": model.state_dict()}, optimizer.state_dict(), {})
    fresh, saved = adamw(small_network()), load_state(path)[1]
    damage(saved, saved["param_groups"][0], saved["state"][0])
    with pytest.raises(ValueError, match="its optimizer"):
        load_adam_(fresh, saved)
    assert fresh.state_dict()["state"] == {}
    load_adam_(fresh, load_state(path)[1])


def test_learning_rates_come_back(tmp_path: Path) -> None:
    """They alone may differ from what an optimizer is made with: a schedule changes them."""
    model = small_network()
    optimizer = adamw(model)
    optimizer.param_groups[0]["lr"] = 0.003
    save_state(tmp_path / "s.safetensors", {}, optimizer.state_dict(), {})
    fresh = adamw(model)
    load_adam_(fresh, load_state(tmp_path / "s.safetensors")[1])
    assert [group["lr"] for group in fresh.param_groups] == [0.003, 0.02]


def test_how_a_device_computes_is_not_taken_over(tmp_path: Path) -> None:
    """A training may go on on another device, whose optimizer is fused or not."""
    model = small_network()
    optimizer = torch.optim.Adam(groups_of(model), lr=0.01, fused=True)
    step(model, optimizer, 0)
    save_state(tmp_path / "s.safetensors", {}, optimizer.state_dict(), {})
    other = torch.optim.Adam(groups_of(model), lr=0.01)
    load_adam_(other, load_state(tmp_path / "s.safetensors")[1])
    assert not any(group["fused"] for group in other.param_groups)
    assert torch.equal(other.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])


def test_an_optimizer_before_its_first_step(tmp_path: Path) -> None:
    model = small_network()
    optimizer = made_optimizer("AdamW", model)
    save_state(tmp_path / "s.safetensors", {"model": model.state_dict()}, optimizer.state_dict(), None)
    _, state, facts = load_state(tmp_path / "s.safetensors")
    optimizer.load_state_dict(state)
    assert state["state"] == {}
    assert facts is None


@pytest.mark.parametrize("content", [None, b"", b"text", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_missing_or_damaged_file(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"last\.safetensors: no training state to resume from .*without --resume"
    ):
        load_state(path)


def test_a_safetensors_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    for metadata in (None, {"spikedet": "{}"}, {"spikedet-training": "no json"}):
        save_file({"w": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(CheckpointError, match="no training state to resume from"):
            load_state(path)


@pytest.mark.parametrize("header", ["{}", "[]", '{"scalars": {}, "groups": [], "facts": 0}'])
def test_a_training_state_with_a_part_missing(header: str, tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "last.safetensors", metadata={"spikedet-training": header})
    with pytest.raises(CheckpointError, match="no training state to resume from"):
        load_state(tmp_path / "last.safetensors")


def test_an_interrupted_save_keeps_the_last_state(tmp_path: Path) -> None:
    model = small_network()
    optimizer = made_optimizer("AdamW", model)
    path = tmp_path / "last.safetensors"
    save_state(path, {"model": model.state_dict()}, optimizer.state_dict(), {"epoch": 1})
    with pytest.raises(TypeError):
        save_state(path, {"model": model.state_dict()}, optimizer.state_dict(), {"epoch": object()})
    assert load_state(path)[2] == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_finite() -> None:
    assert finite({})
    assert finite({"w": torch.ones(2), "n": torch.tensor(3)})
    assert not finite({"w": torch.ones(2), "b": torch.tensor([1.0, float("nan")])})
    assert not finite({"b": torch.tensor(float("inf"))})


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what is mapped")
def test_the_file_is_not_kept_open(tmp_path: Path) -> None:
    """Windows replaces no file that is mapped, and the next epoch's state is written to this one."""
    model = small_network()
    save_state(tmp_path / "last.safetensors", {"model": model.state_dict()}, adamw(model).state_dict(), {})
    kept = load_state(tmp_path / "last.safetensors")
    assert kept[0]["model"] and str(tmp_path) not in Path("/proc/self/maps").read_text()

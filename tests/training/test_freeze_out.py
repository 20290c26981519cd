"""FreezeOut: when layers stop, at which rates, and that they do stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import IMAGE_SIZE, detector, sample_images, write_model_yaml
from torch import nn

from spikedet.commands.train import train
from spikedet.common.errors import ConfigError
from spikedet.config import TrainConfig
from spikedet.training.freeze_out import Freezing, fix_norms_, freezing
from spikedet.training.loop import TrainingLoop

pytestmark = pytest.mark.usefixtures("unrendered_plots")


def schedule(**how: Any) -> Freezing:
    rows = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    made = freezing(rows, TrainConfig(**how))
    assert made is not None
    return made


def test_layers_with_parameters_end_one_after_the_other() -> None:
    assert schedule(freeze_out="linear", freeze_start=0.5).ends == (0.75, 1.0)
    assert schedule(freeze_out="cubic", freeze_start=0.5).ends == (0.75**3, 1.0)
    assert freezing(nn.Sequential(nn.Conv2d(3, 4, 1)), TrainConfig()) is None


def test_rates_by_hand() -> None:
    made = schedule(freeze_out="linear", freeze_start=0.5)
    assert made.factor(0, 0.0) == pytest.approx(1 / 0.75)
    assert made.factor(0, 0.375) == pytest.approx(0.5 / 0.75)
    assert made.factor(0, 0.75) == made.factor(0, 0.9) == 0
    assert schedule(freeze_out="linear", freeze_start=0.5, freeze_scaled=False).factor(0, 0.375) == pytest.approx(0.5)
    assert made.factor(1, 0.5) == pytest.approx(0.5)


def test_what_is_frozen_has_no_graph_and_keeps_its_statistics() -> None:
    made = schedule(freeze_out="linear", freeze_start=0.0)
    convolution, norm = made.layers
    made.freeze_(0.49)
    assert convolution.weight.requires_grad  # type: ignore[union-attr]
    made.freeze_(0.5)
    assert not any(p.requires_grad for p in convolution.parameters())
    assert not convolution(torch.rand(1, 3, 2, 2)).requires_grad
    assert norm.training
    fix_norms_(norm)
    norm(torch.rand(2, 4, 3, 3) + 5)
    assert torch.equal(norm.running_mean, torch.zeros(4))  # type: ignore[arg-type]


def test_groups_of_the_optimizer_are_divided_by_layer() -> None:
    made = freezing(detector().model, TrainConfig(freeze_out="cubic"))
    assert made is not None
    model = detector()
    made = freezing(model.model, TrainConfig(freeze_out="cubic"))
    assert made is not None
    weights, others = [], []
    for parameter in model.parameters():
        (weights if parameter.ndim == 4 else others).append(parameter)
    parts = made.by_layer([{"params": weights, "lr": 0.1}, {"params": others, "lr": 0.2}])
    assert {id(p) for part in parts for p in part["params"]} == {id(p) for p in model.parameters()}
    assert all(part["lr"] == (0.1 if part["params"][0].ndim == 4 else 0.2) for part in parts)
    assert sorted({part["layer"] for part in parts}) == list(range(len(made.layers)))


def test_settings_of_freezing_need_it() -> None:
    with pytest.raises(ConfigError, match="freeze_start has no effect without --freeze-out"):
        TrainConfig(freeze_start=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["conversion", "clif"])
def test_the_first_layers_of_a_training_stay_as_they_are(
    method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    plain = TrainingLoop.save_model

    def keep(loop: Any) -> bool:
        weights = [loop.model.model[row].conv.weight.detach().clone() for row in (0, 3)]
        kept.append((loop.epoch, *weights))
        return plain(loop)

    monkeypatch.setattr(TrainingLoop, "save_model", keep)
    config = TrainConfig(
        **{"data": str(sample_images()), "image_size": IMAGE_SIZE, "method": method, "out": str(tmp_path / "out")},
        **{"model": str(write_model_yaml(tmp_path / "tiny.yaml")), "epochs": 4, "batch": 4, "warmup_epochs": 0.0},
        **({"T": 2} if method == "clif" else {}),
        **{"held_out": 0.25, "mosaic": 0.0, "freeze_out": "linear", "freeze_start": 0.4},
    )
    train(config)
    _, first, deep = zip(*kept, strict=True)
    assert not torch.equal(first[0], first[1])  # 6 layers: the first ends after half of the run
    assert torch.equal(first[1], first[2])
    assert torch.equal(first[2], first[3])
    assert not torch.equal(deep[1], deep[2])  # the fourth after 0.8

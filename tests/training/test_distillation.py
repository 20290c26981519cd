"""Distillation: the divergence by hand, and what a training step makes of it."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import pytest
import torch
from tiny_detector import IMAGE_SIZE, chain, detector
from torch import Tensor
from ultralytics.utils import DEFAULT_CFG

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.commands.finetune import finetune
from spikedet.common.errors import ConfigError
from spikedet.config import FinetuneConfig
from spikedet.training.distillation import BOX_GAIN, CLASS_GAIN, Distillation, distillation_loss

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered_plots")]


def maps(scores: list[list[float]], boxes: Tensor | None = None) -> dict[str, Tensor]:
    """One image: logits ``[classes][A]``; box logits over two distances, all alike unless given."""
    cells = len(scores[0])
    return {"scores": torch.tensor([scores]), "boxes": torch.zeros(1, 8, cells) if boxes is None else boxes}


def test_equal_answers_cost_nothing() -> None:
    outputs = {"scores": torch.randn(2, 3, 5), "boxes": torch.randn(2, 16, 5)}
    assert distillation_loss(outputs, outputs).item() == pytest.approx(0.0, abs=1e-6)


def test_class_scores_by_hand() -> None:
    """Teacher 1/2, student 3/4: KL = ln(1/2 / 3/4) / 2 + ln(1/2 / 1/4) / 2; the weight 1/2 counts as 1."""
    expected = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    loss = distillation_loss(maps([[math.log(3)]]), maps([[0.0]]))
    assert loss.item() == pytest.approx(CLASS_GAIN * expected, rel=1e-5)


def test_box_distributions_by_hand() -> None:
    """One of four sides differs, (3/4, 1/4) against (1/2, 1/2); a quarter of its divergence, weighted by the score."""
    boxes = torch.zeros(1, 8, 1)
    boxes[0, 0] = math.log(3)
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    loss = distillation_loss(maps([[0.0]], boxes), maps([[0.0]]))
    assert loss.item() == pytest.approx(BOX_GAIN * divergence / 4 * 0.5, rel=1e-5)


def test_cells_that_the_teacher_finds_empty_hardly_count_in_the_boxes() -> None:
    boxes = torch.zeros(1, 8, 1)
    boxes[0, 0] = 5.0
    full, empty = (distillation_loss(maps([[s]], boxes), maps([[s]])) for s in (4.0, -12.0))
    assert empty < full / 1000


def test_it_is_added_to_the_detection_loss_and_reaches_the_student_only() -> None:
    torch.manual_seed(0)
    student, teacher = detector(1).train(), detector(0)
    batch = {
        "img": torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE),
        "cls": torch.zeros(1, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4]]),
        "batch_idx": torch.zeros(1),
    }
    student.args = DEFAULT_CFG
    plain, items = copy.deepcopy(student).loss(batch)
    assert set(items) == {"box_loss", "cls_loss", "dfl_loss"}
    student.extra_losses = {"distill_loss": Distillation(teacher, 2.0)}
    loss, items = student.loss(batch)
    assert torch.allclose(loss[:3], plain)
    assert loss[3].item() == pytest.approx(2 * items["distill_loss"].item())  # two images
    loss[3].backward()
    assert student.model[0].conv.weight.grad.abs().sum() > 0
    assert teacher.model[0].conv.weight.grad is None
    assert copy.deepcopy(student).extra_losses["distill_loss"] is student.extra_losses["distill_loss"]


def test_stage_1_logs_the_distillation(tmp_path: Path) -> None:
    finetune(
        FinetuneConfig(
            checkpoint=str(chain()["ann"]), T=3, epochs=1, batch=4, held_out=0.25, distill=1.0, out=str(tmp_path)
        )
    )
    assert "train/distill_loss" in (tmp_path / "qc-log.csv").read_text()


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["ann"])
    other = save_checkpoint(
        tmp_path / "t.safetensors", tensors, dataclasses.replace(meta, class_names=("a", "b", "c", "d"))
    )
    with pytest.raises(ConfigError, match=r"t\.safetensors: it does not know the class"):
        finetune(FinetuneConfig(checkpoint=str(chain()["ann"]), distill=1.0, teacher=str(other), out=str(tmp_path)))

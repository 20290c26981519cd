"""Distillation in Stage I: the source network's outputs as soft targets beside the labels.

Not in the paper. With few levels a QC-ANN cannot follow its source everywhere; with the source's outputs at every
cell, it loses less than from the labels alone. Ultralytics' distillation compares features through projectors, made for
two architectures; here both networks are the same, so their outputs can be compared as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.common.precision import autocast
from spikedet.models import ClipDetector
from spikedet.models.builder import to_float32

CLASS_GAIN, BOX_GAIN = 0.5, 1.5
"""Ultralytics' gains of the class loss and of the loss on box distributions."""


def distillation_loss(student: dict[str, Tensor], teacher: dict[str, Tensor], total: Tensor | None = None) -> Tensor:
    """Divergence of a network's outputs from its teacher's; zero where they agree.

    Binary KL divergence of the class scores, plus the KL divergence of the box distributions weighted by the teacher's
    best class score; both per unit of that weight, as the detection loss is per unit of target score.

    Args:
        student: ``scores`` ``[N, classes, A]`` and ``boxes`` ``[N, 4 R, A]``, logits over all A cells.
        teacher: the same.
        total: the weight that divides; that of these images unless given (it is where they are a part of a batch).
    """
    probabilities = teacher["scores"].sigmoid()
    weight = probabilities.amax(1)
    total = (teacher_weight(teacher) if total is None else total).clamp_min(1.0)
    classes = F.binary_cross_entropy_with_logits(student["scores"], probabilities, reduction="sum")
    classes = classes - F.binary_cross_entropy_with_logits(teacher["scores"], probabilities, reduction="sum")
    mine, theirs = (_log_distributions(maps["boxes"]) for maps in (student, teacher))
    boxes = (F.kl_div(mine, theirs, reduction="none", log_target=True).sum(2).mean(1) * weight).sum()
    return (CLASS_GAIN * classes + BOX_GAIN * boxes) / total


@torch.no_grad()
def teacher_outputs(teacher: ClipDetector, images: Tensor) -> dict[str, Tensor]:
    """Outputs of a network in eval mode for images ``[N, 3, S, S]``: ``scores`` and ``boxes``.

    Computed in bfloat16 where the hardware multiplies it.
    """
    with autocast(images.device, "auto"):
        _, maps = teacher(images)
    outputs: dict[str, Tensor] = to_float32(maps)
    return outputs


def teacher_weight(teacher: dict[str, Tensor]) -> Tensor:
    """The teacher's best class scores, summed over cells and images; if it is at least 1, the unit of the loss."""
    return teacher["scores"].sigmoid().amax(1).sum()


def _log_distributions(boxes: Tensor) -> Tensor:
    """``[N, 4 R, A]`` -> log-probabilities ``[N, 4, R, A]``."""
    return boxes.unflatten(1, (4, -1)).log_softmax(2)


class Distillation:
    """One of ``ClipDetector.extra_losses``: the weighted loss against a teacher that sees the same images.

    Args:
        teacher: a detector with the same classes and grid; never trained.
        weight: of the loss.
    """

    def __init__(self, teacher: ClipDetector, weight: float) -> None:
        self.teacher = teacher.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.weight = weight

    def __deepcopy__(self, memo: Any) -> Distillation:
        return self  # the averaged network is a deep copy; it needs no teacher of its own

    def __call__(self, images: Tensor, student: dict[str, Tensor]) -> Tensor:
        taught = teacher_outputs(self.teacher.to(images.device), images)
        return self.weight * distillation_loss(student, taught)

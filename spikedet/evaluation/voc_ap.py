"""PASCAL VOC AP at IoU 0.5: the 11-point measure of VOC2007 and the area under the curve of VOC2010 and later.

The devkit's rule (Everingham et al., "The PASCAL Visual Object Classes Challenge", section 4.2, and VOCevaldet.m):
detections of a class go by falling score, each to the object of its class in its image with the largest IoU. Below
IoU 0.5 it is a false positive; a difficult object makes it count as nothing; an object found before makes it a false
positive; otherwise it is a true positive. Boxes here are continuous edges, so the devkit's "+ 1" has no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikedet.data.dataset import DetectionDataset
from spikedet.detections import Detections, box_iou
from spikedet.evaluation.coco_ap import check_detections

IOU_THRESHOLD = 0.5
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class VocResult:
    """AP in [0, 1] per class; None for a class without an object to find.

    Attributes:
        eleven_point: the mean of the best precision at recalls of at least 0, 0.1, ..., 1.
        area: the area under the precision curve made monotone.
    """

    eleven_point: tuple[float | None, ...]
    area: tuple[float | None, ...]


def evaluate_voc(dataset: DetectionDataset, detections: Sequence[Detections]) -> VocResult:
    """VOC AP of every class.

    Raises:
        ValueError: if the detections do not belong to the dataset.
    """
    check_detections(dataset, detections)
    curves = [match_class(dataset, detections, label) for label in range(len(dataset.class_names))]
    return VocResult(
        tuple(eleven_point_ap(hits, objects) if objects else None for hits, objects in curves),
        tuple(area_ap(hits, objects) if objects else None for hits, objects in curves),
    )


def mean_ap(per_class: Sequence[float | None]) -> float | None:
    """The mean over the classes that have an AP, or None without any."""
    present = [ap for ap in per_class if ap is not None]
    return float(np.mean(present)) if present else None


def match_class(dataset: DetectionDataset, detections: Sequence[Detections], label: int) -> tuple[Bools, int]:
    """Evaluate the detections of one class.

    Returns:
        bool ``[N]``, true or false positive by falling score (ties in the order given), those on difficult objects
        left out; and the number of objects that are not difficult.
    """
    objects = 0
    scores: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)]
    verdicts: list[npt.NDArray[np.int8]] = [np.zeros(0, np.int8)]
    for sample, found in zip(dataset.samples, detections, strict=True):
        wanted, mine = sample.labels == label, found.labels == label
        difficult = sample.difficult[wanted]
        objects += int((~difficult).sum())
        order = np.argsort(-found.scores[mine], kind="stable")
        boxes_xyxy = found.boxes_xyxy[mine][order]
        scores.append(found.scores[mine][order])
        verdicts.append(_match(box_iou(boxes_xyxy, sample.boxes_xyxy[wanted]), difficult))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    verdict = np.concatenate(verdicts)[order]
    return verdict[verdict >= 0] == 1, objects


def eleven_point_ap(hits: Bools, objects: int) -> float:
    """VOC2007 AP in [0, 1] from bool ``[N]`` by falling score and the number of objects (at least 1)."""
    found, precision = _found_and_precision(hits)
    # recall >= k / 10 in whole numbers: 3 of 10 reach 0.3, which 3 * 0.1 in floats would deny
    best = [precision[found * 10 >= k * objects].max(initial=0.0) for k in range(11)]
    return float(np.mean(best))


def area_ap(hits: Bools, objects: int) -> float:
    """Area AP in [0, 1] from bool ``[N]`` by falling score and the number of objects (at least 1)."""
    _, precision = _found_and_precision(hits)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[hits].sum() / objects)


def _match(iou: Floats, difficult: Bools) -> npt.NDArray[np.int8]:
    """Verdicts int8 ``[D]`` for IoU ``[D, G]`` by falling score: 1 hit, 0 false positive, -1 left out."""
    verdict = np.zeros(len(iou), np.int8)
    if difficult.size == 0:
        return verdict
    taken = np.zeros(len(difficult), np.bool_)
    best = iou.argmax(1)
    for i in np.flatnonzero(iou.max(1) >= IOU_THRESHOLD):
        target = best[i]
        if difficult[target]:
            verdict[i] = -1
        elif not taken[target]:
            verdict[i] = 1
            taken[target] = True
    return verdict


def _found_and_precision(hits: Bools) -> tuple[npt.NDArray[np.int64], Floats]:
    """Objects found and precision after each detection, ``[N]`` each."""
    found = np.cumsum(hits, dtype=np.int64)
    return found, found / np.arange(1, len(hits) + 1)

"""COCO AP by pycocotools, with ``difficult`` objects ignored and crowds evaluated as COCO evaluates them.

AP is the mean of the precision at the 101 recalls 0, 0.01, ..., 1, over the IoU thresholds 0.5, 0.55, ..., 0.95 and
over the classes; at most 100 detections per image and class (https://cocodataset.org/#detection-eval).
An ignored object takes at most one detection, by ordinary IoU, and that detection is neither hit nor miss. A crowd
(COCO's ``iscrowd``) takes any number of detections, by the intersection over the *detection's* area.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spikedet.data.dataset import DetectionDataset
from spikedet.detections import Detections

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
RECALL_STEPS = 101
MAX_DETECTIONS = 100
AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class CocoResult:
    """What pycocotools accumulated.

    Attributes:
        precision: float64 ``[10 IoU, 101 recalls, classes, areas]`` in [0, 1]; -1 where there is nothing to find.
        areas: the names of the last axis, from ``AREAS``.
    """

    precision: npt.NDArray[np.float64]
    areas: tuple[str, ...]

    def ap(self, iou: float | None = None, label: int | None = None, area: str = "all") -> float | None:
        """AP in [0, 1]: at one IoU threshold or over all, of one class or over those with objects.

        Returns:
            None where no class has an object of this size to find.
        """
        precision = self.precision[..., self.areas.index(area)]
        if iou is not None:
            precision = precision[[IOU_THRESHOLDS.index(iou)]]
        if label is not None:
            precision = precision[..., [label]]
        present = precision[precision > -1]
        return float(present.mean()) if present.size else None


def check_detections(dataset: DetectionDataset, detections: Sequence[Detections]) -> None:
    """Raise ValueError unless there is one ``Detections`` per sample and every label is a class of the dataset."""
    if len(detections) != len(dataset):
        raise ValueError(f"expected one Detections for each of {len(dataset)} samples, got {len(detections)}")
    classes = len(dataset.class_names)
    for sample, found in zip(dataset.samples, detections, strict=True):
        if len(found) and not (found.labels.min() >= 0 and found.labels.max() < classes):
            seen = f"{found.labels.min()} to {found.labels.max()}"
            raise ValueError(f"{sample.image_id}: labels must be in [0, {classes - 1}], got {seen}")


def evaluate_coco(dataset: DetectionDataset, detections: Sequence[Detections]) -> CocoResult:
    """Match and accumulate; object sizes are box areas in pixels of the original image (32**2 and 96**2 apart).

    Raises:
        ValueError: if the detections do not belong to the dataset.
    """
    evaluator = match_coco(dataset, detections)
    with redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    return CocoResult(evaluator.eval["precision"][..., -1], AREAS)


def match_coco(dataset: DetectionDataset, detections: Sequence[Detections], areas: Sequence[str] = AREAS) -> Any:
    """A ``DifficultCOCOeval`` after ``evaluate()``; image ids are sample indices, category ids are labels.

    Raises:
        ValueError: if the detections do not belong to the dataset.
    """
    check_detections(dataset, detections)
    with redirect_stdout(io.StringIO()):
        evaluator = difficult_coco_eval()(
            _coco(dataset, _truth_annotations(dataset)), _coco(dataset, _detection_annotations(detections)), "bbox"
        )
        _set_areas(evaluator.params, areas)
        evaluator.params.maxDets = [MAX_DETECTIONS]
        evaluator.evaluate()
    return evaluator


@cache
def difficult_coco_eval() -> type[Any]:
    """The class ``DifficultCOCOeval``; made on first use, so that importing spikedet needs no pycocotools."""
    from pycocotools.cocoeval import COCOeval

    class DifficultCOCOeval(COCOeval):
        """COCOeval that ignores annotations with ``difficult``; ``_prepare`` alone would overwrite their flag."""

        def _prepare(self) -> None:
            super()._prepare()
            for objects in self._gts.values():
                for thing in objects:
                    if thing["difficult"]:
                        thing["ignore"] = 1

    return DifficultCOCOeval


def _coco(dataset: DetectionDataset, annotations: list[dict[str, Any]]) -> Any:
    """A pycocotools dataset built in memory; its own ``loadRes`` fails without detections."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "height": s.image_hw[0], "width": s.image_hw[1]} for i, s in enumerate(dataset.samples)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(dataset.class_names)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _truth_annotations(dataset: DetectionDataset) -> list[dict[str, Any]]:
    """COCO annotations of the objects. Ids begin at 1, because pycocotools reads a match with id 0 as no match."""
    found: list[dict[str, Any]] = []
    for image, sample in enumerate(dataset.samples):
        columns = (sample.boxes_xyxy, sample.labels, sample.difficult, sample.crowd)
        for box, label, difficult, crowd in zip(*columns, strict=True):
            flags = {"difficult": bool(difficult), "iscrowd": int(crowd)}
            found.append(_annotation(len(found) + 1, image, box, label) | flags)
    return found


def _detection_annotations(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for image, these in enumerate(detections):
        for box, label, score in zip(these.boxes_xyxy, these.labels, these.scores, strict=True):
            found.append(_annotation(len(found) + 1, image, box, label) | {"score": float(score)})
    return found


def _annotation(identity: int, image: int, box_xyxy: npt.NDArray[np.float32], label: np.int64) -> dict[str, Any]:
    left, top, right, bottom = (float(edge) for edge in box_xyxy)
    width, height = max(right - left, 0.0), max(bottom - top, 0.0)
    return {
        "id": identity,
        "image_id": image,
        "category_id": int(label),
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
    }


def _set_areas(params: Any, areas: Sequence[str]) -> None:
    """Keep only these size classes of COCO's."""
    ranges = dict(zip(params.areaRngLbl, params.areaRng, strict=True))
    params.areaRng = [ranges[area] for area in areas]
    params.areaRngLbl = list(areas)

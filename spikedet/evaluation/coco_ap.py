"""COCO AP by pycocotools, with ``difficult`` objects ignored and crowds evaluated as COCO evaluates them.

AP is the mean of the precision at the 101 recalls 0, 0.01, ..., 1, over the IoU thresholds 0.5, 0.55, ..., 0.95 and
over the classes; at most 100 detections per image and class (https://cocodataset.org/#detection-eval).
An ignored object takes at most one detection, by ordinary IoU, and that detection is neither hit nor miss. A crowd
(COCO's ``iscrowd``) takes any number of detections, by the intersection over the *detection's* area.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from spikedet.data.dataset import DetectionDataset, Sample
from spikedet.detections import Detections

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
RECALL_STEPS = 101
MAX_DETECTIONS = 100
AREAS = ("all", "small", "medium", "large")


_Object = tuple[npt.NDArray[np.float32], np.int64, dict[str, Any]]
"""Edges, label, and what else an annotation says."""


@dataclass(frozen=True)
class CocoResult:
    """What pycocotools accumulated.

    Attributes:
        precision: float64 ``[10 IoU, 101 recalls, classes, AREAS]`` in [0, 1]; -1 where there is nothing to find.
    """

    precision: npt.NDArray[np.float64]

    def ap(self, iou: float | None = None, label: int | None = None, area: str = "all") -> float | None:
        """AP in [0, 1]: at one IoU threshold or over all, of one class or over those with objects.

        Returns:
            None where no class has an object of this size to find.
        """
        precision = self.precision[..., AREAS.index(area)]
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
    return CocoResult(evaluator.eval["precision"][..., -1])


def match_coco(dataset: DetectionDataset, detections: Sequence[Detections], areas: Sequence[str] = AREAS) -> Any:
    """A ``DifficultCOCOeval`` after ``evaluate()``; image ids are sample indices, category ids are labels.

    Raises:
        ValueError: if the detections do not belong to the dataset.
    """
    check_detections(dataset, detections)
    with redirect_stdout(io.StringIO()):
        evaluator = difficult_coco_eval()(
            _coco(dataset, map(_objects, dataset.samples)), _coco(dataset, map(_found, detections)), "bbox"
        )
        params = evaluator.params
        ranges = dict(zip(params.areaRngLbl, params.areaRng, strict=True))
        params.areaRngLbl, params.areaRng = list(areas), [ranges[area] for area in areas]
        params.maxDets = [MAX_DETECTIONS]
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


def _coco(dataset: DetectionDataset, objects: Iterable[Iterable[_Object]]) -> Any:
    """A pycocotools dataset built in memory, objects by image; its own ``loadRes`` fails without detections."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "height": s.image_hw[0], "width": s.image_hw[1]} for i, s in enumerate(dataset.samples)],
        "categories": [{"id": label, "name": name} for label, name in enumerate(dataset.class_names)],
        "annotations": _annotations(objects),
    }
    coco.createIndex()
    return coco


def _objects(sample: Sample) -> Iterator[_Object]:
    flags = zip(sample.difficult.tolist(), sample.crowd.astype(int).tolist(), strict=True)
    more = ({"difficult": difficult, "iscrowd": crowd} for difficult, crowd in flags)
    return zip(sample.boxes_xyxy, sample.labels, more, strict=True)


def _found(detections: Detections) -> Iterator[_Object]:
    scores = ({"score": float(score)} for score in detections.scores)
    return zip(detections.boxes_xyxy, detections.labels, scores, strict=True)


def _annotations(objects: Iterable[Iterable[_Object]]) -> list[dict[str, Any]]:
    """COCO annotations. Ids begin at 1, because pycocotools reads a match with id 0 as no match."""
    made: list[dict[str, Any]] = []
    for image, (box_xyxy, label, more) in ((i, one) for i, of_image in enumerate(objects) for one in of_image):
        left, top, right, bottom = (float(edge) for edge in box_xyxy)
        width, height = max(right - left, 0.0), max(bottom - top, 0.0)
        facts = {"id": len(made) + 1, "image_id": image, "category_id": int(label), "iscrowd": 0}
        made.append({**facts, "bbox": [left, top, width, height], "area": width * height, **more})
    return made

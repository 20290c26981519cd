"""Every AP that the tables show, in percent, from one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spikedet.data.dataset import DetectionDataset
from spikedet.detections import Detections
from spikedet.evaluation.coco_ap import evaluate_coco
from spikedet.evaluation.voc_ap import evaluate_voc, mean_ap


@dataclass(frozen=True)
class APMeasures:
    """AP in percent, unrounded; None where there is no object to find.

    Attributes:
        AP, AP50, AP75: COCO, over IoU 0.5 to 0.95 and at 0.5 and 0.75.
        AP_S, AP_M, AP_L: COCO AP of small, medium and large objects (32**2 and 96**2 pixels of the image apart).
        VOC07, VOC_area: PASCAL VOC at IoU 0.5, 11-point and area.
        per_class: for each class name its ``AP``, ``AP50`` and ``VOC07``.
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    AP_S: float | None
    AP_M: float | None
    AP_L: float | None
    VOC07: float | None
    VOC_area: float | None
    per_class: dict[str, dict[str, float | None]]


def measure(dataset: DetectionDataset, detections: Sequence[Detections]) -> APMeasures:
    """Evaluate detections, one ``Detections`` per sample in the dataset's order.

    Objects marked difficult are neither hit nor miss, and a class with nothing else to find counts in no mean.

    Raises:
        ValueError: if the number of detections differs from the dataset's or a label is no class of it.
    """
    coco, voc = evaluate_coco(dataset, detections), evaluate_voc(dataset, detections)
    per_class = {
        name: {
            "AP": _percent(coco.ap(label=label)),
            "AP50": _percent(coco.ap(iou=0.5, label=label)),
            "VOC07": _percent(voc.eleven_point[label]),
        }
        for label, name in enumerate(dataset.class_names)
    }
    return APMeasures(
        AP=_percent(coco.ap()),
        AP50=_percent(coco.ap(iou=0.5)),
        AP75=_percent(coco.ap(iou=0.75)),
        AP_S=_percent(coco.ap(area="small")),
        AP_M=_percent(coco.ap(area="medium")),
        AP_L=_percent(coco.ap(area="large")),
        VOC07=_percent(mean_ap(voc.eleven_point)),
        VOC_area=_percent(mean_ap(voc.area)),
        per_class=per_class,
    )


def _percent(ap: float | None) -> float | None:
    return None if ap is None else 100 * ap

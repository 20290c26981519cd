"""Detections in the formats that other tools read: COCO results, and YOLO label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spikedet.common.files import write_json, write_text
from spikedet.data.coco.json import category_id, coco_box, coco_categories
from spikedet.data.yolo.labels import yolo_line
from spikedet.detections import Detections

Detected = Mapping[str, tuple[tuple[int, int], Detections]]
"""Height and width in pixels and the detections of images and frames, by a file name without its suffix, as a rule."""


def coco_image_ids(names: Sequence[str]) -> list[int]:
    """The names themselves where all of them are different whole numbers, as COCO's are, otherwise 1, 2, 3, ..."""
    if all(name.isascii() and name.isdigit() for name in names):
        numbers = [int(name) for name in names]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(names) + 1))


def write_coco_results(folder: Path, found: Detected, class_names: Sequence[str]) -> Path:
    """Write ``results.json`` (``image_id``, ``category_id``, ``bbox``, ``score``) and ``results_images.json``.

    The second file says which image and which class each id represents, in the form of a COCO annotation file:
    ``COCO("results_images.json").loadRes("results.json")`` reads the pair.

    Returns:
        The path of ``results.json``.

    Raises:
        SpikedetError: a file cannot be written.
    """
    ids = coco_image_ids(list(found))
    results = [
        {
            "image_id": image_id,
            "category_id": category_id(label),
            "bbox": coco_box(edges)["bbox"],
            "score": round(score, 5),
        }
        for image_id, (_, detections) in zip(ids, found.values(), strict=True)
        for edges, label, score in _each(detections)
    ]
    images = [
        {"id": image_id, "file_name": name, "width": width, "height": height}
        for image_id, (name, ((height, width), _)) in zip(ids, found.items(), strict=True)
    ]
    known = {"images": images, "annotations": [], "categories": coco_categories(class_names)}
    write_json(folder / "results_images.json", known)
    return write_json(folder / "results.json", results)


def write_yolo_labels(folder: Path, found: Detected) -> None:
    """Write ``NAME.txt`` for each: a line ``class cx cy w h`` for each box, in fractions; empty without boxes.

    Raises:
        SpikedetError: a file cannot be written.
    """
    for name, (image_hw, detections) in found.items():
        lines = [yolo_line(label, edges, image_hw) for edges, label, _ in _each(detections)]
        write_text(folder / f"{name}.txt", "".join(f"{line}\n" for line in lines))


def _each(detections: Detections) -> list[tuple[list[float], int, float]]:
    """``(edges x0, y0, x1, y1, label, score)`` of each."""
    boxes: list[list[float]] = detections.boxes_xyxy.astype(float).tolist()
    return list(zip(boxes, detections.labels.tolist(), detections.scores.astype(float).tolist(), strict=True))

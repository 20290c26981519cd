"""Detections as COCO results and YOLO labels, read back by pycocotools and by our own reader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from spikedet.data.detection_files import Detected, coco_image_ids, write_coco_results, write_yolo_labels
from spikedet.data.yolo.labels import read_labels, yolo_edges
from spikedet.detections import Detections

NAMES = ("cat", "dog", "cow")
HW = (40, 60)


def detected(*names: str) -> Detected:
    boxes = np.array([[0, 0, 60, 40], [10.5, 4, 30.25, 8]], np.float32)
    found = Detections(boxes, np.array([0.5, 0.25]), np.array([2, 0]))  # type: ignore[arg-type]
    return {name: (HW, found) for name in names}


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([], []),
        (["a", "b"], [1, 2]),
        (["000139", "7"], [139, 7]),
        (["7", "a"], [1, 2]),
        (["7", "07"], [1, 2]),
        (["²", "3"], [1, 2]),
    ],
)
def test_image_ids(names: list[str], ids: list[int]) -> None:
    assert coco_image_ids(names) == ids


def test_nothing_found(tmp_path: Path) -> None:
    nothing = {"a": (HW, Detections.empty())}
    assert json.loads(write_coco_results(tmp_path, nothing, NAMES).read_text()) == []
    write_yolo_labels(tmp_path / "labels", nothing)
    assert (tmp_path / "labels" / "a.txt").read_text() == ""


def test_coco_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_coco_results(tmp_path, detected("12", "34"), NAMES)
    assert path == tmp_path / "results.json"
    first, second, *_ = json.loads(path.read_text())
    assert first == {"image_id": 12, "category_id": 3, "bbox": [0, 0, 60, 40], "score": 0.5}
    assert second == {"image_id": 12, "category_id": 1, "bbox": [10.5, 4, 19.75, 4], "score": 0.25}
    loaded = COCO(str(tmp_path / "results_images.json")).loadRes(str(path))
    assert len(loaded.getAnnIds(imgIds=[34])) == 2
    assert [loaded.cats[category]["name"] for category in (1, 2, 3)] == list(NAMES)
    assert (loaded.imgs[34]["width"], loaded.imgs[34]["height"]) == (60, 40)


def test_yolo_labels_are_read_back(tmp_path: Path) -> None:
    written = detected("a")
    write_yolo_labels(tmp_path / "labels", written)
    objects = read_labels(tmp_path / "labels" / "a.txt", NAMES).objects
    assert [found.name for found in objects] == ["cow", "cat"]
    edges = [yolo_edges(found.numbers, HW) for found in objects]
    assert np.allclose(edges, written["a"][1].boxes_xyxy, atol=1e-6)  # nine decimals of 60 px

"""Tiny YOLO and COCO writers for the data tests; what they write is what the test says, right or wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

WH = (40, 30)


def write_image(path: Path, image_wh: tuple[int, int] = WH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", image_wh, (90, 120, 30)).save(path)
    return path


def write_yolo(
    root: Path,
    labels: Mapping[str, str | None],
    yaml: str = "train: images/train\nnames: [cat, dog]\n",
    split: str = "train",
) -> Path:
    """``images/SPLIT/NAME.jpg`` (40 x 30) for each label text; None writes no label file. Returns ``data.yaml``."""
    for name, text in labels.items():
        write_image(root / "images" / split / f"{name}.jpg")
        if text is not None:
            label = root / "labels" / split / f"{name}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text, encoding="utf-8")
    (root / "data.yaml").write_text(yaml, encoding="utf-8")
    return root / "data.yaml"


CATEGORIES: Sequence[Mapping[str, Any]] = ({"id": 7, "name": "dog"}, {"id": 3, "name": "cat"})


def coco_annotation(identity: int, image_id: object, bbox: object, category_id: object = 3, **more: object) -> Any:
    return {"id": identity, "image_id": image_id, "category_id": category_id, "bbox": bbox} | more


def coco_content(annotations: Sequence[Any] = (), images: Sequence[Any] | None = None) -> dict[str, Any]:
    """One image ``a.jpg`` with the id 1 unless said otherwise; category 3 is cat, 7 is dog."""
    images = [{"id": 1, "file_name": "a.jpg"}] if images is None else images
    return {"images": list(images), "annotations": list(annotations), "categories": list(CATEGORIES)}


def write_coco(
    root: Path,
    content: object,
    file: str = "annotations/instances_train2017.json",
    images: Sequence[str] = ("train2017/a.jpg",),
) -> Path:
    """The annotation file (a text is written as it is) and images of 40 x 30."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    for image in images:
        write_image(root / image)
    return path

"""Annotations in each of the three layouts, written into a new folder whose images are there already.

Images lie together in one folder and each split is a list of them, so that an image of several splits is there once.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spikedet.common.counts import counted
from spikedet.config import LayoutName
from spikedet.data.coco.json import category_id, coco_box, coco_categories, coco_flags
from spikedet.data.dataset import Sample
from spikedet.data.split_names import checked_split_name
from spikedet.data.values import plain_number
from spikedet.data.yolo.labels import yolo_line
from spikedet.data.yolo.yaml import MORE_SPLITS, SPLIT_KEYS

IMAGE_FOLDERS: dict[LayoutName, str] = {"voc": "JPEGImages", "yolo": "images", "coco": "images"}


@dataclass(frozen=True)
class NamedSample:
    """An image under the file name that it has in the new folder; no other has the same stem."""

    file_name: str
    sample: Sample

    @property
    def stem(self) -> str:
        """The file name without its suffix."""
        return Path(self.file_name).stem


Splits = Mapping[str, Sequence[NamedSample]]


def write_layout(to: LayoutName, folder: Path, splits: Splits, class_names: Sequence[str]) -> str:
    """Write annotations and split files; returns what the layout could not express, or "".

    Raises:
        DataError: the name of a split cannot be that of a file.
        OSError: a file cannot be written.
    """
    for split in splits:
        checked_split_name(str(folder), split)
    writers: dict[LayoutName, Callable[[Path, Splits, Sequence[str]], str]]
    writers = {"voc": _write_voc, "yolo": _write_yolo, "coco": _write_coco}
    return writers[to](folder, splits, class_names)


def _write_voc(folder: Path, splits: Splits, class_names: Sequence[str]) -> str:
    """Year folder; ``voc.yaml`` beside it keeps the order of the classes, which VOC itself has nowhere."""
    (folder / "Annotations").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    left_out = 0
    for item in _each_once(splits):
        tree, slivers = _voc_tree(item, class_names)
        ET.indent(tree)
        (folder / "Annotations" / f"{item.stem}.xml").write_text(ET.tostring(tree, "unicode") + "\n", "utf-8")
        left_out += slivers
    for split, items in splits.items():
        _write_lines(folder / "ImageSets" / "Main" / f"{split}.txt", [item.stem for item in items])
    _write_yaml(folder / "voc.yaml", {"data": ".", "names": list(class_names)})
    return f"{counted(left_out, 'object')} of at most one pixel left out: VOC has none so small" if left_out else ""


def _voc_tree(item: NamedSample, class_names: Sequence[str]) -> tuple[ET.Element, int]:
    """The annotation, and the number of boxes whose corners would coincide."""
    height, width = item.sample.image_hw
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = item.file_name
    size = ET.SubElement(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, name).text = str(value)
    slivers = 0
    for box, label, difficult, _ in _objects(item.sample):
        x0, y0, x1, y1 = (plain_number(value) for value in (box[0] + 1, box[1] + 1, box[2], box[3]))
        if x1 <= x0 or y1 <= y0:
            slivers += 1
            continue
        element = ET.SubElement(root, "object")
        ET.SubElement(element, "name").text = class_names[label]
        ET.SubElement(element, "difficult").text = str(int(difficult))
        corners = ET.SubElement(element, "bndbox")
        for name, number in zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True):
            ET.SubElement(corners, name).text = str(number)
    return root, slivers


def _write_yolo(folder: Path, splits: Splits, class_names: Sequence[str]) -> str:
    (folder / "labels").mkdir()
    left_out = 0
    for item in _each_once(splits):
        objects = [(label, edges) for edges, label, difficult, _ in _objects(item.sample) if not difficult]
        lines = [yolo_line(label, edges, item.sample.image_hw) for label, edges in objects]
        left_out += int(item.sample.difficult.sum())
        _write_lines(folder / "labels" / f"{item.stem}.txt", lines)
    for split, items in splits.items():
        _write_lines(folder / f"{split}.txt", [f"./images/{item.file_name}" for item in items])
    usual = {split: f"{split}.txt" for split in splits if split in SPLIT_KEYS}
    more = {split: f"{split}.txt" for split in splits if split not in SPLIT_KEYS}
    content = usual | ({MORE_SPLITS: more} if more else {}) | {"names": dict(enumerate(class_names))}
    _write_yaml(folder / "data.yaml", content)
    return f"{left_out} difficult objects were left out: YOLO labels cannot mark them" if left_out else ""


def _write_coco(folder: Path, splits: Splits, class_names: Sequence[str]) -> str:
    """Ids begin at 1, because pycocotools reads a match with annotation 0 as no match."""
    (folder / "annotations").mkdir()
    for split, items in splits.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, item in enumerate(items, start=1):
            height, width = item.sample.image_hw
            images.append({"id": number, "file_name": item.file_name, "width": width, "height": height})
            for box, label, difficult, crowd in _objects(item.sample):
                identity = {"id": len(annotations) + 1, "image_id": number, "category_id": category_id(label)}
                annotations.append(identity | coco_box(box) | {"segmentation": []} | coco_flags(difficult, crowd))
        content = {"images": images, "annotations": annotations, "categories": coco_categories(class_names)}
        text = json.dumps(content, allow_nan=False) + "\n"
        (folder / "annotations" / f"instances_{split}.json").write_text(text, "utf-8")
    return ""


def _each_once(splits: Splits) -> list[NamedSample]:
    return list({item.file_name: item for items in splits.values() for item in items}.values())


def _objects(sample: Sample) -> list[tuple[list[float], int, bool, bool]]:
    """``(edges x0, y0, x1, y1, label, difficult, crowd)`` of each object."""
    boxes: list[list[float]] = sample.boxes_xyxy.astype(float).tolist()
    flags = sample.difficult.tolist(), sample.crowd.tolist()
    return list(zip(boxes, sample.labels.tolist(), *flags, strict=True))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), "utf-8")

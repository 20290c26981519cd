"""PASCAL VOC layout: year folders with ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.

VOC corners are 1-based and inclusive; ours are continuous pixel edges:
``(xmin - 1, ymin - 1, xmax, ymax)``, clipped to the picture.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikedet.data.dataset import BoxIssues, DetectionDataset, Sample
from spikedet.data.images import image_hw
from spikedet.data.voc_annotation import VocObject, read_annotation
from spikedet.data.voc_splits import VOC_CLASS_NAMES, VocEntry, folder_name, split_entries, year_folders
from spikedet.errors import DataError

MAX_EXAMPLES = 5


def load_voc(
    root: Path, split: str, class_names: Sequence[str] | None = None, strict: bool = False
) -> DetectionDataset:
    """Read a split of a VOC folder; pictures are not decoded, only their headers are read.

    Args:
        root: a year folder, or a devkit folder whose sub-folders are year folders.
        split: ``+``-joined parts, each ``train`` (every year that has it) or ``VOC2007/train`` (one year).
            An image named by several parts is taken once.
        class_names: the classes in label order; None takes those of ``discover_class_names``.
        strict: raise at the first box without area or partly outside its picture, instead of repairing and counting.

    Raises:
        DataError: the folder, split, an annotation or a picture is missing or invalid, or a class is unknown.
    """
    root = Path(root)
    entries = split_entries(root, split)
    objects = [read_annotation(entry.annotation) for entry in entries]
    known = _default_class_names(root, split, objects) if class_names is None else _checked_names(root, class_names)
    label_of = {name: label for label, name in enumerate(known)}
    tally = _IssueTally(strict)
    samples = tuple(_sample(entry, found, label_of, tally) for entry, found in zip(entries, objects, strict=True))
    issues = tally.issues()
    if issues.examples:
        logging.getLogger("spikedet").warning(
            "%s, split %s: %d boxes without area dropped, %d boxes clipped to their picture; first: %s",
            root,
            split,
            issues.dropped,
            issues.clipped,
            issues.examples[0],
        )
    return DetectionDataset(folder_name(root), split, known, samples, issues)


def discover_class_names(root: Path, split: str) -> tuple[str, ...]:
    """The class names that a split's annotations use, sorted.

    Folders named VOCyyyy that use no other than the 20 VOC classes get all of ``VOC_CLASS_NAMES``.

    Raises:
        DataError: as ``load_voc``, or when the split has no object at all.
    """
    root = Path(root)
    return _default_class_names(
        root, split, [read_annotation(entry.annotation) for entry in split_entries(root, split)]
    )


def _default_class_names(root: Path, split: str, annotations: Iterable[Sequence[VocObject]]) -> tuple[str, ...]:
    names = {item.name for objects in annotations for item in objects}
    official = all(re.fullmatch(r"VOC\d{4}", folder_name(year)) for year in year_folders(root))
    if official and names <= set(VOC_CLASS_NAMES):
        return VOC_CLASS_NAMES
    if not names:
        raise DataError(f"{root}: split {split!r} has no object to learn the classes from; give the class names")
    return tuple(sorted(names))


def _checked_names(root: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(class_names)
    if not names or len(set(names)) != len(names):
        raise DataError(f"{root}: class names must be given once each, got {list(names)}")
    return names


def _sample(entry: VocEntry, objects: Sequence[VocObject], label_of: dict[str, int], tally: _IssueTally) -> Sample:
    hw = image_hw(entry.picture)
    boxes, labels, difficult = [], [], []
    for number, item in enumerate(objects, start=1):
        if item.name not in label_of:
            known = ", ".join(label_of)
            raise DataError(
                f"{entry.annotation}: object {number} has the unknown class {item.name[:80]!r}; known: {known}"
            )
        box, problem = _fit_box(item.corners, hw)
        if problem:
            tally.add(f"{entry.annotation}: object {number} ({item.name}) {problem}", dropped=box is None)
        if box is not None:
            boxes.append(box)
            labels.append(label_of[item.name])
            difficult.append(item.difficult)
    return Sample(
        entry.image_id,
        entry.picture,
        hw,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(difficult, np.bool_),
    )


def _fit_box(
    corners: tuple[float, float, float, float], image_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.float32] | None, str]:
    """VOC corners to clipped pixel edges ``[4]``: ``(box or None where no area is left, problem or "")``.

    At most one pixel outside is no problem: tools that count from 0 write it.
    """
    height, width = image_hw
    xmin, ymin, xmax, ymax = corners
    written = f"{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}"
    if xmax <= xmin or ymax <= ymin:
        return None, f"has no area: {written}"
    edges = np.array([xmin - 1, ymin - 1, xmax, ymax])
    inside = np.clip(edges, 0, [width, height, width, height])
    box = inside.astype(np.float32)
    if box[2] <= box[0] or box[3] <= box[1]:
        return None, f"has no area within the {width} x {height} picture: {written}"
    outside = np.abs(edges - inside).max() > 1
    return box, f"reaches outside the {width} x {height} picture: {written}" if outside else ""


class _IssueTally:
    """Counts box problems while a split is read; raises at the first where ``strict``."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._dropped = 0
        self._clipped = 0
        self._examples: list[str] = []

    def add(self, text: str, *, dropped: bool) -> None:
        if self._strict:
            raise DataError(f"{text}; correct the annotation, or load without strict")
        self._dropped += dropped
        self._clipped += not dropped
        if len(self._examples) < MAX_EXAMPLES:
            self._examples.append(text)

    def issues(self) -> BoxIssues:
        return BoxIssues(self._dropped, self._clipped, tuple(self._examples))

"""YOLO layout: a ``data.yaml``, images under ``images``, a label file under ``labels`` for each that has objects.

An image's label file is where ultralytics looks for it: the last folder ``images`` in its path becomes ``labels``, the
suffix ``.txt``; without such a folder it lies beside the image.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.common.files import MAX_LIST_BYTES, read_bytes
from spikedet.config import LayoutName
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.layout import (
    AnnotatedImage,
    Entry,
    Listing,
    broken_entry,
    in_usual_order,
    shown,
    split_parts,
    unique_entries,
)
from spikedet.data.paths import contained
from spikedet.data.yolo.labels import read_labels, yolo_edges
from spikedet.data.yolo.yaml import YoloFile

CLASSES_FILE = "classes.txt"
"""Labelling tools write the names of the classes into it, among the labels."""


@dataclass(frozen=True)
class YoloLayout:
    """The dataset that a ``data.yaml`` describes."""

    yaml: YoloFile
    kind: LayoutName = "yolo"

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self.yaml.root

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.yaml.name

    def splits(self) -> list[str]:
        """The splits that the YAML names."""
        return in_usual_order(self.yaml.parts)

    def listing(self, split: str) -> Listing:
        """Parts are keys of the YAML.

        Raises:
            DataError: the YAML has no such split, or its folder or list is missing, empty or outside the dataset.
        """
        entries: list[Entry] = []
        for part in split_parts(split):
            if part not in self.yaml.parts:
                raise DataError(f"{self.yaml.file}: no split {part!r}; available: {', '.join(self.splits())}")
            for written in self.yaml.parts[part]:
                entries += _part_entries(self.yaml, written)
        _warn_without_labels(self.root, split, entries)
        unique = unique_entries(entries)
        return Listing(split, unique, lambda _: self.yaml.class_names, yolo_edges, partial(_lone_labels, unique))


def label_path(image: Path) -> Path:
    """Where ultralytics expects the labels of an image."""
    folders = image.parts[:-1]
    if "images" in folders:
        last = len(folders) - 1 - folders[::-1].index("images")
        image = Path(*folders[:last], "labels", *image.parts[last + 1 :])
    return image.with_suffix(".txt")


def _part_entries(yaml: YoloFile, written: str) -> Iterator[Entry]:
    """The images of one folder or list."""
    path = _part_path(yaml, written)
    if path.is_dir():
        images = sorted(_images_under(path))
        if not images:
            raise DataError(f"{path}: no images in this folder; {yaml.file} names it")
        for image in images:
            yield _entry(yaml, image, f"{yaml.file}: {image.name}")
    elif path.suffix.lower() == ".txt" and path.is_file():
        for number, line in _list_lines(path):
            yield _listed_entry(yaml, path, number, line)
    else:
        raise DataError(f"{path}: no folder of images and no .txt list of them; {yaml.file} names it")


def _part_path(yaml: YoloFile, written: str) -> Path:
    """A folder or list within the dataset. Exports that write ``../train/images`` mean ``train/images``."""
    inner = written.removeprefix("../")
    if inner != written and os.path.exists(yaml.root / inner):
        written = inner
    return contained(yaml.root, written, str(yaml.file))


def _images_under(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


def _list_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        lines = read_bytes(path, MAX_LIST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list cannot be read ({error}); expected one image per line") from error
    found = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise DataError(f"{path}: the list is empty; expected one image per line")
    yield from found


def _listed_entry(yaml: YoloFile, file: Path, number: int, line: str) -> Entry:
    """``./a.jpg`` is relative to the list, any other path to the dataset's folder or, if not there, to the list."""
    where = f"{file}: line {number}"
    reason = f"{where}: image {shown(line)} not found in {yaml.root}; add it, or remove the line"
    for home in [file.parent] if line.startswith("./") else [yaml.root, file.parent]:
        try:
            image = contained(yaml.root, line, where, home)
        except DataError as error:
            reason = str(error)
            continue
        if os.path.isfile(image):
            return _entry(yaml, image, where)
    return broken_entry(f"{file.name}:{number}", None, file, reason)


def _entry(yaml: YoloFile, image: Path, where: str) -> Entry:
    labels = label_path(image)
    image_id = image.relative_to(yaml.root).as_posix()
    return Entry(image_id, image, labels, partial(_objects, yaml, labels, where))


def _objects(yaml: YoloFile, labels: Path, where: str) -> AnnotatedImage:
    if not labels.is_relative_to(yaml.root):
        raise DataError(
            f"{where}: its labels are expected at {labels}, outside {yaml.root}; "
            "set 'path' to the folder that holds both images and labels"
        )
    path = contained(yaml.root, str(labels.relative_to(yaml.root)), where)
    return AnnotatedImage(read_labels(path, yaml.class_names))


def _lone_labels(entries: Sequence[Entry]) -> list[str]:
    """A sentence for each label file without an image, in folders of labels; beside images any text may lie."""
    folders = {(e.annotation.parent, e.image.parent) for e in entries if e.image is not None}
    found = []
    for labels, images in sorted(folders):
        stems = {path.stem for path in images.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES}
        lone = [path for path in labels.glob("*.txt") if path.stem not in stems] if labels != images else []
        found += [
            f"{path}: no image {path.stem} in {images}; add it, or remove the labels"
            for path in sorted(lone)
            if path.name != CLASSES_FILE
        ]
    return found


def _warn_without_labels(root: Path, split: str, entries: Sequence[Entry]) -> None:
    expected = [entry.annotation for entry in entries if entry.image is not None]
    if expected and not any(os.path.isfile(path) for path in expected):
        text = "%s, split %s: not one of %d images has a label file; the first is expected at %s"
        logging.getLogger("spikedet").warning(text, root, split, len(expected), expected[0])

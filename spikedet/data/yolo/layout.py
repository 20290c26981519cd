"""YOLO layout: a ``data.yaml``, images under ``images``, a label file under ``labels`` for each that has objects.

An image's label file is where ultralytics looks for it: the last folder ``images`` in its path becomes ``labels``, the
suffix ``.txt``; without such a folder it lies beside the image.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.common.files import MAX_LIST_BYTES
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.layout import AnnotatedImage, Entry, Layout, Listing, broken_entry, unique_entries
from spikedet.data.paths import contained
from spikedet.data.split_names import in_usual_order, split_parts
from spikedet.data.text import read_lines
from spikedet.data.values import shown
from spikedet.data.walk import visible, walk
from spikedet.data.yolo.labels import read_labels, yolo_edges
from spikedet.data.yolo.yaml import CLASS_LISTS, YoloFile

_Folders = Callable[[Path], tuple[Path, frozenset[str]]]
"""Gives the folder of the labels of a folder of images, and the names in it."""


class YoloLayout(Layout):
    """The dataset that a ``data.yaml`` describes."""

    def __init__(self, yaml: YoloFile) -> None:
        super().__init__("yolo", f"YOLO with {yaml.file.name}", yaml.root, yaml.name)
        self.yaml = yaml

    def splits(self) -> list[str]:
        """The splits that the YAML names."""
        return in_usual_order(self.yaml.parts)

    def listing(self, split: str) -> Listing:
        """Parts are keys of the YAML."""
        entries: list[Entry] = []
        folders: _Folders = cache(label_folder)
        for part in split_parts(split):
            if part not in self.yaml.parts:
                raise DataError(f"{self.yaml.file}: no split {part!r}; available: {', '.join(self.splits())}")
            for written in self.yaml.parts[part]:
                entries += _part_entries(self.yaml, written, folders)
        _warn_without_labels(self.root, split, entries)
        unique = unique_entries(entries)
        return Listing(split, unique, lambda _: self.yaml.class_names, yolo_edges, partial(_lone_labels, unique))


def label_folder(images: Path) -> tuple[Path, frozenset[str]]:
    """The folder of the labels of a folder of images, and the names in it; both may be in upper case."""
    exact, alike = ([i for i, part in enumerate(images.parts) if plain(part) == "images"] for plain in (str, str.lower))

    def in_place(at: int, name: str) -> Path:
        return Path(*images.parts[:at], name, *images.parts[at + 1 :])

    usual = in_place(exact[-1], "labels") if exact else images
    others = [in_place(alike[-1], name) for name in ("Labels", "LABELS", "labels") if alike]
    folders = [usual, *others] if exact else [*others, usual]
    folder = next((folder for folder in folders if folder.is_dir()), usual)
    return folder, frozenset(path.name for path in visible(folder)) if folder.is_dir() else frozenset()


def _part_entries(yaml: YoloFile, written: str, folders: _Folders) -> Iterator[Entry]:
    """The images of one folder or list."""
    path = _part_path(yaml, written)
    if path.is_dir():
        images = sorted(path / image for image in walk(path).files(IMAGE_SUFFIXES))
        if not images:
            raise DataError(f"{path}: no images in this folder; {yaml.file} names it")
        for image in images:
            yield _entry(yaml, image, folders, f"{yaml.file}: {image.name}")
    elif path.suffix.lower() == ".txt" and path.is_file():
        lines = enumerate(read_lines(path, "list", MAX_LIST_BYTES), start=1)
        listed = [(number, line.strip()) for number, line in lines if line.strip()]
        if not listed:
            raise DataError(f"{path}: the list is empty; expected one image per line")
        for number, line in listed:
            yield _listed_entry(yaml, path, number, line, folders)
    else:
        raise DataError(f"{path}: no folder of images and no .txt list of them; {yaml.file} names it")


def _part_path(yaml: YoloFile, written: str) -> Path:
    """A folder or list within the dataset. Exports that write ``../train/images`` mean ``train/images``."""
    inner = written.removeprefix("../")
    if inner != written and os.path.exists(yaml.root / inner):
        written = inner
    if os.path.isabs(written) and not os.path.exists(written):  # of the machine that made the export
        ends = (Path(*Path(written).parts[start:]) for start in range(1, len(Path(written).parts) - 1))
        written = next((str(end) for end in ends if os.path.exists(yaml.root / end)), written)
    return contained(yaml.root, written, str(yaml.file))


def _listed_entry(yaml: YoloFile, file: Path, number: int, line: str, folders: _Folders) -> Entry:
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
            return _entry(yaml, image, folders, where)
    return broken_entry(f"{file.name}:{number}", None, file, reason)


def _entry(yaml: YoloFile, image: Path, folders: _Folders, where: str) -> Entry:
    """An image and its label file; where there is none, the path where it is expected."""
    folder, names = folders(image.parent)
    expected = image.with_suffix(".txt").name
    labels = folder / next((name for name in (expected, f"{image.stem}.TXT") if name in names), expected)
    return Entry(image.relative_to(yaml.root).as_posix(), image, labels, partial(_objects, yaml, labels, where))


def _objects(yaml: YoloFile, labels: Path, where: str) -> AnnotatedImage:
    if not labels.is_relative_to(yaml.root):
        raise DataError(
            f"{where}: its labels are expected at {labels}, outside {yaml.root}; "
            "set 'path' to the folder that holds both images and labels"
        )
    path = contained(yaml.root, str(labels.relative_to(yaml.root)), where)
    return read_labels(path, yaml.class_names)


def _lone_labels(entries: Sequence[Entry]) -> list[str]:
    """A sentence for each label file without an image, in folders of labels; beside images any text may lie."""
    folders = {(e.annotation.parent, e.image.parent) for e in entries if e.image is not None}
    found = []
    for labels, images in sorted(folders):
        if labels == images or not labels.is_dir():
            continue
        stems = {path.stem for path in visible(images) if path.suffix.lower() in IMAGE_SUFFIXES}
        lone = [path for path in visible(labels) if path.suffix.lower() == ".txt" and path.stem not in stems]
        found += [
            f"{path}: no image {path.stem} in {images}; add it, or remove the labels"
            for path in sorted(lone)
            if path.name not in CLASS_LISTS
        ]
    return found


def _warn_without_labels(root: Path, split: str, entries: Sequence[Entry]) -> None:
    expected = [entry.annotation for entry in entries if entry.image is not None]
    if expected and not any(os.path.isfile(path) for path in expected):
        text = "%s, split %s: not one of %d images has a label file; the first is expected at %s"
        logging.getLogger("spikedet").warning(text, root, split, len(expected), expected[0])

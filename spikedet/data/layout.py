"""What every layout comes down to: splits of images, each with its objects as some file has them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from spikedet.common.errors import DataError
from spikedet.config import SourceLayout
from spikedet.data.dataset import Division

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """One annotated object as written.

    Attributes:
        place: where in its file it stands, for example ``"object 3"`` or ``"line 2"``.
        name: its class.
        numbers: the four finite numbers of its box, in the layout's own order and unit.
        difficult: neither trained on nor evaluated.
        crowd: represents many objects (COCO's ``iscrowd``); such are difficult too.
    """

    place: str
    name: str
    numbers: Box
    difficult: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """One image as its annotation has it.

    Attributes:
        objects: in the order of the file.
        image_hw: height and width in pixels of the image that was annotated; None where the file does not say.
    """

    objects: Sequence[WrittenObject]
    image_hw: tuple[int, int] | None = None


@dataclass(frozen=True)
class Entry:
    """One image of a split; nothing of it is read yet.

    Attributes:
        image_id: unique within the dataset.
        image: the image's file; None where there is none to look at.
        annotation: the file that errors about its objects name.
        read: gives what is written. Raises DataError where the annotation cannot be used.
        split: that its folders or its annotation file name, or "".
    """

    image_id: str
    image: Path | None
    annotation: Path
    read: Callable[[], AnnotatedImage]
    split: str = ""


@dataclass(frozen=True)
class Listing:
    """The images of a split, each once.

    Attributes:
        split: as results show it.
        entries: in the order of the split's files.
        choose_names: the classes in label order, from the class names that the annotations use.
        edges: an object's numbers and its image's height and width to pixel edges x0, y0, x1, y1, which may leave
            the image; x1 <= x0 or y1 <= y0 where the box has no area.
        remarks: gives what is odd about the split's files though nothing is lost by it, a sentence each.
        notes: the same of what has been seen already, a sentence for each kind; said whenever the split is loaded.
        about: how images without splits were divided, in words, or "".
        total: images of all parts, where they were divided.
    """

    split: str
    entries: tuple[Entry, ...]
    choose_names: Callable[[set[str]], tuple[str, ...]]
    edges: Callable[[Box, tuple[int, int]], Box]
    remarks: Callable[[], Sequence[str]] = tuple
    notes: Sequence[str] = ()
    about: str = ""
    total: int = 0


class Layout(ABC):
    """A dataset on disk in one of the layouts.

    Attributes:
        kind: which layout it is.
        seen: what was recognized, in words, for example ``"VOC XML beside images"``.
        root: the folder that holds everything; nothing is ever written to it.
        name: what tables call the dataset; the folder's name unless it has another.
    """

    def __init__(self, kind: SourceLayout, seen: str, root: Path, name: str = "") -> None:
        self.kind, self.seen, self.root, self.name = kind, seen, root, name or folder_name(root)

    @property
    def division(self) -> Division | None:
        """The images of each part, where images without splits were divided."""
        return None

    @abstractmethod
    def splits(self) -> list[str]:
        """Every split that there is, without those that only part another by class. Raises DataError without any."""

    @abstractmethod
    def listing(self, split: str) -> Listing:
        """The images of a split (``+``-joined parts). Raises DataError where it or a file of it is not there."""


def pixel_edges(numbers: Box, image_hw: tuple[int, int]) -> Box:
    """Numbers that are pixel edges x0, y0, x1, y1 already."""
    return numbers


def broken_entry(image_id: str, image: Path | None, annotation: Path, reason: str) -> Entry:
    """An entry that cannot be used: whoever reads it gets a DataError with this reason."""

    return Entry(image_id, image, annotation, partial(refuse, reason))


def refuse(reason: str) -> NoReturn:
    """Raise DataError with this reason, in the place of reading."""
    raise DataError(reason)


def unique_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries, the first of each image id."""
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.image_id, entry)
    return tuple(first.values())


def folder_name(folder: Path) -> str:
    """The last part of a folder's path, also where that is written as ``.``; links are not followed."""
    return Path(os.path.abspath(folder)).name

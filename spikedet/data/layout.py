"""What every layout comes down to: splits of images, each with its objects as some file has them."""

from __future__ import annotations

import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from spikedet.common.errors import ConfigError, DataError
from spikedet.config import SourceLayout
from spikedet.data.dataset import Division

Box = tuple[float, float, float, float]
USUAL_SPLITS = ("train", "val", "trainval", "test")
MAX_CLASSES, MAX_NAME = 20_000, 200
"""Most classes of a dataset, and characters of a class's name."""
_PIXELS = re.compile(r"\s*0*[1-9]\d{0,8}(\.0*)?\s*", re.ASCII)


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


def split_parts(split: str) -> list[str]:
    """``"train+val"`` -> ["train", "val"]."""
    return [part.strip() for part in split.split("+")]


def in_usual_order(splits: Iterable[str]) -> list[str]:
    """Train, val, trainval, test, then others by name."""
    rank = {name: index for index, name in enumerate(USUAL_SPLITS)}
    return sorted(set(splits), key=lambda name: (rank.get(name, len(rank)), name))


@contextmanager
def as_config_error() -> Iterator[None]:
    """A DataError about what stands in a settings file is a ConfigError."""
    try:
        yield
    except DataError as error:
        raise ConfigError(str(error)) from error


def checked_split_name(where: str, name: str) -> str:
    """The name of a split, which may become that of a file. Raises DataError where it could lead elsewhere."""
    if not name.isprintable() or not re.fullmatch(r"[^./\\:][^/\\:]*", name):
        raise DataError(f"{where}: expected the name of a split, such as 'trainval', got {shown(name)}")
    return name


def checked_class_names(where: str, names: Iterable[object]) -> tuple[str, ...]:
    """Class names without surrounding blanks.

    Raises:
        DataError: there is none or there are more than ``MAX_CLASSES``, one is not a class name, or one is there twice.
    """
    checked: dict[str, None] = {}
    for given in names:
        if not isinstance(given, str) or not is_class_name(name := given.strip()):
            raise DataError(
                f"{where}: expected a class name, got {shown(given)}; quote names such as 'no' or '1', and use at most "
                f"{MAX_NAME} printable characters"
            )
        if name in checked:
            raise DataError(f"{where}: the class name {shown(name)} is there twice; give each class one name")
        checked[name] = None
    if not checked:
        raise DataError(f"{where}: no class names; give at least one")
    if len(checked) > MAX_CLASSES:
        raise DataError(f"{where}: {len(checked)} class names; at most {MAX_CLASSES} are supported")
    return tuple(checked)


def is_class_name(name: str) -> bool:
    """Whether a text without surrounding blanks can be the name of a class."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def plain_name(name: str) -> str:
    """A class name without upper case and with single spaces: what is alike in this is one class, as a rule."""
    return " ".join(name.casefold().split())


def check_same_names(root: Path, first: str, names: Sequence[str], other: str, others: Sequence[str]) -> None:
    """Raise DataError unless two splits have the same classes in the same order."""
    if tuple(names) != tuple(others):
        odd = sorted(set(names) ^ set(others))
        what = f"only one has {shown(odd[0])}" if odd else "their order differs"
        raise DataError(f"{root}: splits {first!r} and {other!r} have different classes ({what}); make them alike")


def finite_number(text: str, complaint: Callable[[], str]) -> float:
    """The number that a text is. Raises DataError with this complaint, made then, where it is none or not finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(complaint())
    return value


def written_hw(height: object, width: object) -> tuple[int, int] | None:
    """Height and width as a file has them; None unless both are whole and above 0: some tools write 0 for unknown."""
    texts = [str(side) for side in (height, width) if isinstance(side, str | int | float)]
    if len(texts) < 2 or not all(map(_PIXELS.fullmatch, texts)):
        return None
    return int(float(texts[0])), int(float(texts[1]))


def plain_number(value: float) -> int | float:
    """As it is written: a whole number without a point, any other to a millionth of a pixel."""
    rounded = round(value, 6)
    return int(rounded) if rounded == int(rounded) else rounded


def shown(value: object) -> str:
    """A value from a file as an error may show it: short, printable, and of a nested one only its type."""
    if isinstance(value, str | int | float | None):
        value = value[:80] if isinstance(value, str) else value
        text = repr(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
        return text if len(text) <= 80 else f"{text[:77]}..."
    return f"a {type(value).__name__}"

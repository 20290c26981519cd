"""Names of splits: ``valid``, ``validation`` and ``val`` are one, so are ``test`` and ``testing``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from spikedet.common.errors import DataError
from spikedet.data.values import shown

USUAL_SPLITS = ("train", "val", "trainval", "test")

_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "trainval": "trainval",
}
_BESIDE = frozenset(
    [
        *("images", "image", "imgs", "img", "jpegimages", "labels", "label", "annotations", "annotation", "annots"),
        *("annot", "anno", "xml", "xmls", "txt", "json", "csv", "coco", "instances", "bbox", "boxes"),
        *("data", "dataset", "set", "zip", "split"),
    ]
)
_WORDS = re.compile(r"[\s_.,-]+")


def usual_split(name: str) -> str:
    """``"Validation"`` -> "val"; "" for a name that is no usual split's."""
    return _NAMES.get(name.strip().lower(), "")


def split_in_name(name: str) -> str:
    """The split that the name of a folder or file has beside words such as ``images``: "train_labels" -> "train".

    "" where it has none or several, or other words.
    """
    words = [re.sub(r"(?<=[a-z])\d{4}$", "", word) for word in _WORDS.split(name.lower()) if word]
    found = {_NAMES[word] for word in words if word in _NAMES}
    rest = [word for word in words if word not in _NAMES and word not in _BESIDE and not re.fullmatch(r"\d{4}", word)]
    return found.pop() if len(found) == 1 and not rest else ""


def split_of_folder(folder: str) -> str:
    """The split that a relative folder belongs to by its parts: "images/train/cam" -> "train".

    Raises:
        DataError: its parts name several splits.
    """
    found = {split for part in PurePosixPath(folder).parts if (split := split_in_name(part))}
    if len(found) > 1:
        raise DataError(f"{folder}: this folder is of the splits {' and '.join(sorted(found))}; keep one in its path")
    return found.pop() if found else ""


def known_split(asked: str, available: Iterable[str]) -> str:
    """The name that a dataset has for the split that is asked for: "val" may be called "valid" there.

    A split that it has under no name stays as it is asked for.
    """
    names = list(available)
    year, slash, name = asked.rpartition("/")
    usual = usual_split(name)
    alike = [other for other in names if usual and usual_split(other) == usual]
    return asked if name in names or len(alike) != 1 else f"{year}{slash}{alike[0]}"


def split_parts(split: str) -> list[str]:
    """``"train+val"`` -> ["train", "val"]."""
    return [part.strip() for part in split.split("+")]


def in_usual_order(splits: Iterable[str]) -> list[str]:
    """Train, val, trainval, test, then others by name."""
    rank = {name: index for index, name in enumerate(USUAL_SPLITS)}
    return sorted(set(splits), key=lambda name: (rank.get(name, len(rank)), name))


def checked_split_name(where: str, name: str) -> str:
    """The name of a split, which may become that of a file. Raises DataError where it could lead elsewhere."""
    if not name.isprintable() or not re.fullmatch(r"[^./\\:][^/\\:]*", name):
        raise DataError(f"{where}: expected the name of a split, such as 'trainval', got {shown(name)}")
    return name

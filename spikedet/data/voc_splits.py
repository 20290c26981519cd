"""Which images a VOC split names, and where their pictures and annotations lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spikedet.errors import DataError

VOC_CLASS_NAMES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes of PASCAL VOC in their official order."""

LAYOUT_HELP = (
    "expected a folder with Annotations/, JPEGImages/ and ImageSets/Main/, or a VOCdevkit folder of such folders"
)

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_YEAR_PARTS = ("Annotations", "JPEGImages", "ImageSets/Main")


@dataclass(frozen=True)
class VocEntry:
    """One image of a split: where its picture and annotation lie."""

    image_id: str
    picture: Path
    annotation: Path


def split_entries(root: Path, split: str) -> list[VocEntry]:
    """Every image of the split, once, in the order of the split files."""
    entries: dict[str, VocEntry] = {}
    for year, split_file in _split_files(root, split):
        pictures = _files_by_stem(year / "JPEGImages", _PICTURE_SUFFIXES)
        annotations = _files_by_stem(year / "Annotations", (".xml",))
        for name in _read_ids(split_file):
            image_id = f"{folder_name(year)}/{name}"
            annotation = _find(annotations, name, year / "Annotations" / f"{name}.xml", "annotation", split_file)
            picture = _find(pictures, name, year / "JPEGImages" / f"{name}.jpg", "picture", split_file)
            entries.setdefault(image_id, VocEntry(image_id, picture, annotation))
    return list(entries.values())


def _split_files(root: Path, split: str) -> list[tuple[Path, Path]]:
    """``(year folder, split file)`` for each part of the split and each year that has it."""
    available = {year: _files_by_stem(year / "ImageSets/Main", (".txt",)) for year in year_folders(root)}
    chosen = []
    for part in split.split("+"):
        year_name, _, name = part.strip().rpartition("/")
        found = [
            (year, files[name])
            for year, files in available.items()
            if name in files and year_name in ("", folder_name(year))
        ]
        if not found:
            listing = ", ".join(_split_names(available)) or "none"
            raise DataError(f"{root}: no split {part.strip()!r}; available: {listing}")
        chosen += found
    return chosen


def _split_names(available: dict[Path, dict[str, Path]]) -> list[str]:
    """Splits a user may name; the per-class lists of the devkit (``cat_train``) are left out."""
    per_class = tuple(f"{name}_" for name in VOC_CLASS_NAMES)
    names = {
        f"{folder_name(year)}/{path.stem}" if len(available) > 1 else path.stem
        for year, files in available.items()
        for path in files.values()
    }
    return sorted(name for name in names if not name.rpartition("/")[2].startswith(per_class))


def year_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {LAYOUT_HELP}")
    if is_year_folder(root):
        return [root]
    years = sorted(folder for folder in _listing(root) if is_year_folder(folder))
    if not years:
        raise DataError(f"{root}: not a VOC dataset; {LAYOUT_HELP}")
    return years


def is_year_folder(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in _YEAR_PARTS)


def folder_name(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name


def _read_ids(split_file: Path) -> Iterator[str]:
    """The first field of every line: a plain file stem. A flag column (``000005  1``) is ignored."""
    try:
        lines = split_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{split_file}: the split file cannot be read ({error}); expected one id per line") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(f"{split_file}: the split is empty; expected one image id per line")
    for name in names:
        if ".." in name or "/" in name or "\\" in name:
            raise DataError(f"{split_file}: id {name!r} is a path; expected a file name without folder or suffix")
        yield name


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files by their stem as written and, where no other file has that very stem, in lower case."""
    files = [path for path in _listing(folder) if path.suffix.lower() in suffixes]
    files.sort(key=lambda path: (suffixes.index(path.suffix.lower()), path.name))
    exact = {path.stem: path for path in reversed(files)}
    return {path.stem.lower(): path for path in reversed(files)} | exact


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror}); check its permissions") from error


def _find(files: dict[str, Path], name: str, expected: Path, kind: str, split_file: Path) -> Path:
    path = files.get(name) or files.get(name.lower())
    if path is None:
        raise DataError(f"{expected}: {kind} not found; add it, or remove {name!r} from {split_file}")
    return path

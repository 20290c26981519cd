"""Which images a VOC split names, and where their images and annotations lie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.common.files import MAX_LIST_BYTES
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.layout import Entry, broken_entry, folder_name, unique_entries
from spikedet.data.split_lists import FLAG_COLUMN
from spikedet.data.split_names import split_parts
from spikedet.data.text import read_lines
from spikedet.data.voc.annotation import read_annotation
from spikedet.data.walk import visible

VOC_CLASS_NAMES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes of PASCAL VOC in their official order."""

LAYOUT_HELP = (
    "expected a folder with Annotations/, JPEGImages/ and ImageSets/Main/, or a VOCdevkit folder of such folders"
)

_YEAR_PARTS = ("Annotations", "JPEGImages", "ImageSets/Main")
_PER_CLASS = re.compile(rf"({'|'.join(VOC_CLASS_NAMES)})_(train|val|trainval|test)")


def split_entries(root: Path, split: str) -> tuple[Entry, ...]:
    """Every image of the split, once, in the order of the split files."""
    entries = []
    for year, split_file in _split_files(root, split):
        images = _files_by_stem(year / "JPEGImages", IMAGE_SUFFIXES)
        annotations = _files_by_stem(year / "Annotations", (".xml",))
        for name in _read_ids(split_file, images):
            entries.append(_entry(year, split_file, name, images, annotations))
    return unique_entries(entries)


def _entry(year: Path, split_file: Path, name: str, images: dict[str, Path], annotations: dict[str, Path]) -> Entry:
    image_id = f"{folder_name(year)}/{name}"
    if ".." in name or "/" in name or "\\" in name:
        reason = f"{split_file}: id {name!r} is a path; expected a file name without folder or suffix"
        return broken_entry(image_id, None, split_file, reason)
    annotation, image = _find(annotations, name), _find(images, name)
    hint = f"add it, or remove {name!r} from {split_file}"
    if annotation is None:
        missing = year / "Annotations" / f"{name}.xml"
        return broken_entry(image_id, image, missing, f"{missing}: annotation not found; {hint}")
    if image is None:
        missing = year / "JPEGImages" / f"{name}.jpg"
        return broken_entry(image_id, None, annotation, f"{missing}: image not found; {hint}")
    return Entry(image_id, image, annotation, partial(read_annotation, annotation))


def _split_files(root: Path, split: str) -> list[tuple[Path, Path]]:
    """``(year folder, split file)`` for each part of the split and each year that has it."""
    available = _available(root)
    chosen = []
    for part in split_parts(split):
        year_name, _, name = part.rpartition("/")
        found = [
            (year, files[name])
            for year, files in available.items()
            if name in files and year_name in ("", folder_name(year))
        ]
        if not found:
            listing = ", ".join(_shown_splits(available)) or "none"
            raise DataError(f"{root}: no split {part!r}; available: {listing}")
        chosen += found
    return chosen


def split_names(root: Path) -> set[str]:
    """Splits of any year; the per-class lists of the devkit (``cat_train``) are left out."""
    names = {path.stem for files in _available(root).values() for path in files.values()}
    return {name for name in names if not _PER_CLASS.fullmatch(name)}


def _available(root: Path) -> dict[Path, dict[str, Path]]:
    return {year: _files_by_stem(year / "ImageSets/Main", (".txt",)) for year in year_folders(root)}


def _shown_splits(available: dict[Path, dict[str, Path]]) -> list[str]:
    names = {
        f"{folder_name(year)}/{path.stem}" if len(available) > 1 else path.stem
        for year, files in available.items()
        for path in files.values()
    }
    return sorted(name for name in names if not _PER_CLASS.fullmatch(name.rpartition("/")[2]))


def year_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {LAYOUT_HELP}")
    if is_year_folder(root):
        return [root]
    years = sorted(folder for folder in visible(root) if is_year_folder(folder))
    if not years:
        raise DataError(f"{root}: not a VOC dataset; {LAYOUT_HELP}")
    return years


def is_voc(root: Path) -> bool:
    """Whether a folder is a year folder or has one."""
    return is_year_folder(root) or any(is_year_folder(folder) for folder in visible(root))


def is_year_folder(folder: Path) -> bool:
    return all(os.path.isdir(folder / part) for part in _YEAR_PARTS)  # False where it may not be read: lost+found


def _read_ids(split_file: Path, images: dict[str, Path]) -> Iterator[str]:
    """Every line, without the flag of per-class lists (``000005  1``) unless the whole line is an image's name."""
    lines = read_lines(split_file, "split file", MAX_LIST_BYTES)
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(f"{split_file}: the split is empty; expected one image id per line")
    yield from (name if _find(images, name) else FLAG_COLUMN.sub("", name) for name in names)


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files by their stem as written and, where no other file has that very stem, in lower case."""
    files = [path for path in visible(folder) if path.suffix.lower() in suffixes]
    files.sort(key=lambda path: (suffixes.index(path.suffix.lower()), path.name))
    exact = {path.stem: path for path in reversed(files)}
    return {path.stem.lower(): path for path in reversed(files)} | exact


def _find(files: dict[str, Path], name: str) -> Path | None:
    return files.get(name) or files.get(name.lower())

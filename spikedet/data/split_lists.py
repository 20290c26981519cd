"""Split files: ``train.txt`` and the like, an image's name or path in each line, wherever they lie."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.common.files import MAX_LIST_BYTES
from spikedet.data.lookup import Lookup
from spikedet.data.pairs import folder_of
from spikedet.data.split_names import usual_split
from spikedet.data.text import read_lines
from spikedet.data.walk import Tree

FLAG_COLUMN = re.compile(r"\s+(-1|0|1)$")
"""Of VOC's lists by class: ``000005  1``."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A line of a split file.

    Attributes:
        where: file and line, for errors.
        file: the split file.
        image: relative path; "" where there is no such image.
        problem: why there is none, or "".
    """

    where: str
    file: Path
    image: str
    problem: str = ""


def split_lists(tree: Tree, lookup: Lookup, taken: Collection[Path]) -> tuple[dict[str, list[ListedImage]], list[str]]:
    """Every split file by its split, and a note for each file that is called like one and names no image.

    Args:
        tree: the folder.
        lookup: its images.
        taken: annotation files, which are no split files.

    Raises:
        DataError: several files of one split differ, or one cannot be read.
    """
    found: dict[str, list[tuple[str, list[ListedImage]]]] = {}
    notes = []
    for path in tree.files([".txt"]):
        split = usual_split(path.rpartition("/")[2][:-4])
        if not split or tree.root / path in taken:
            continue
        lines = _read(tree.root / path, path, lookup)
        if any(line.image for line in lines):
            found.setdefault(split, []).append((path, lines))
        else:
            notes.append(f"{path} names no image that is here and is not used")
    return {split: _only(tree.root, split, files) for split, files in found.items()}, notes


def _only(root: Path, split: str, files: list[tuple[str, list[ListedImage]]]) -> list[ListedImage]:
    """The lines of the only split file, or of the one in VOC's folder ``Main``."""
    main = [found for found in files if folder_of(found[0]).lower().endswith("imagesets/main")]
    chosen = main if len(main) == 1 else files
    first = chosen[0]
    for path, lines in chosen[1:]:
        if {line.image for line in lines} != {line.image for line in first[1]}:
            raise DataError(f"{root}: the split {split!r} may be {first[0]} or {path}; keep one of them")
    return first[1]


def _read(file: Path, path: str, lookup: Lookup) -> list[ListedImage]:
    found = []
    near = folder_of(path)
    for number, line in enumerate(read_lines(file, "image names", MAX_LIST_BYTES), start=1):
        if not (name := line.strip()):
            continue
        where = f"{file}: line {number}"
        try:
            found.append(ListedImage(where, file, _find(name, where, lookup, near)))
        except DataError as error:
            found.append(ListedImage(where, file, "", str(error)))
    return found


def _find(name: str, where: str, lookup: Lookup, near: str) -> str:
    try:
        return lookup.find(name, where, near)
    except DataError:
        if (plain := FLAG_COLUMN.sub("", name)) == name:
            raise
        return lookup.find(plain, where, near)

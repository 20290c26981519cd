"""CSV tables with a box in each row: file, class and corners, as TensorFlow's tutorials and Roboflow write them.

The corners are pixel edges; a row without a class and corners is an image without objects.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.boxes import refuse_fractions
from spikedet.data.layout import AnnotatedImage, WrittenObject, pixel_edges
from spikedet.data.lookup import Lookup
from spikedet.data.loose import Found, named_entry, note_unnamed
from spikedet.data.pairs import folder_of, splits_of_files
from spikedet.data.text import read_bounded, read_start
from spikedet.data.values import finite_number, written_hw
from spikedet.data.walk import Tree

MAX_TABLE_BYTES = 2_000_000_000
_COLUMNS: Mapping[str, frozenset[str]] = {
    "file": frozenset(
        ["filename", "file", "file_name", "image", "image_path", "image_name", "image_id", "path", "img"]
    ),
    "class": frozenset(["class", "label", "class_name", "name", "category", "label_name"]),
    "x0": frozenset(["xmin", "x1", "x_min", "left", "x0", "bbox_xmin"]),
    "y0": frozenset(["ymin", "y1", "y_min", "top", "y0", "bbox_ymin"]),
    "x1": frozenset(["xmax", "x2", "x_max", "right", "bbox_xmax"]),
    "y1": frozenset(["ymax", "y2", "y_max", "bottom", "bbox_ymax"]),
}
_CORNERS = ("x0", "y0", "x1", "y1")


@dataclass
class _Image:
    objects: list[WrittenObject] = field(default_factory=list)
    image_hw: tuple[int, int] | None = None
    problem: str = ""
    split: str = ""
    file: str = ""


def find_table(tree: Tree, images: Sequence[str]) -> Found | str:
    """The images that tables name, or what is missing ("" where there is no such table).

    Raises:
        DataError: a table cannot be read, or several tables have no split in their names.
    """
    tables = [path for path in sorted(tree.files([".csv"])) if _columns(_header(read_start(tree.root / path)))]
    if not tables or not images:
        return ""
    rows: dict[str, _Image] = {}
    stray = []
    for path, split in splits_of_files(tree.root, tables).items():
        stray += _read(tree, path, split, Lookup(images), rows)
    entries = [
        named_entry(tree, image, found.file, found.split, AnnotatedImage(found.objects, found.image_hw), found.problem)
        for image, found in sorted(rows.items())
    ]
    if not entries:
        return f"{tables[0]} names no image that is here"
    notes = note_unnamed(images, rows, "table")
    return Found("csv", f"CSV ({', '.join(tables[:3])})", entries, pixel_edges, None, notes, stray)


def _read(tree: Tree, path: str, split: str, lookup: Lookup, rows: dict[str, _Image]) -> list[tuple[str, Path, str]]:
    """Add the rows of a table; returns those that belong to no image."""
    file = tree.root / path
    try:
        text = read_bounded(file, "CSV", MAX_TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error}); save the table as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]))
    header = [name.strip().lower() for name in next(reader)]
    column = _columns(header)
    size: dict[str, int] = {name: header.index(name) for name in ("width", "height") if name in header}
    found: dict[str, str] = {}
    stray = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{file}: line {reader.line_num}"
            try:
                if len(row) < len(header):
                    raise DataError(f"{where} has {len(row)} cells; expected {len(header)}")
                name = row[column["file"]]
                if name not in found:
                    found[name] = lookup.find(name, where, folder_of(path), split)
            except DataError as error:
                stray.append((split, file, str(error)))
                continue
            image = rows.setdefault(found[name], _Image(split=split, file=path))
            if image.file != path:
                image.problem = f"{where}: {image.file} has {found[name]} too; keep it in one"
            _add(image, where, row, column, size)
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num} cannot be read ({error}); save the table again") from error
    return stray


def _add(image: _Image, where: str, row: Sequence[str], column: Mapping[str, int], size: Mapping[str, int]) -> None:
    if len(size) == 2:
        image.image_hw = written_hw(row[size["height"]], row[size["width"]])
    texts = [row[column[name]].strip() for name in ("class", *_CORNERS)]
    if not any(texts):
        return
    try:
        if not texts[0]:
            raise DataError(f"{where} has no class; add it")
        x0, y0, x1, y1 = (finite_number(text, where, "the corner {!r}") for text in texts[1:])
        refuse_fractions(where, (x0, y0, x1, y1))
    except DataError as error:
        image.problem = image.problem or str(error)
        return
    image.objects.append(WrittenObject(where.rpartition(": ")[2], texts[0], (x0, y0, x1, y1)))


def _header(start: bytes) -> list[str]:
    line = next(iter(start.decode("utf-8-sig", "replace").splitlines()), "")
    try:
        return [cell.strip().lower() for cell in next(csv.reader([line], delimiter=_delimiter(line)), [])]
    except csv.Error:
        return []


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _columns(header: Sequence[str]) -> dict[str, int]:
    """The column of each part; {} where one is missing."""
    found = {part: next((i for i, name in enumerate(header) if name in names), -1) for part, names in _COLUMNS.items()}
    return found if min(found.values()) >= 0 else {}

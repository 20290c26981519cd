"""Label files of YOLO datasets: one line ``class cx cy w h`` for each object, in fractions of the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spikedet.common.counts import counted
from spikedet.common.errors import DataError
from spikedet.data.layout import AnnotatedImage, Box, WrittenObject
from spikedet.data.text import read_lines
from spikedet.data.values import finite_number

EXCESS = 0.01
"""Fractions this far outside 0 to 1 are taken for rounding and clipped; beyond it they are not fractions."""

_EXPECTED = "expected a box, 'class cx cy w h'"


def read_labels(path: Path, class_names: Sequence[str]) -> AnnotatedImage:
    """The objects of a label file, their numbers cx, cy, w, h; none where there is no file.

    Raises:
        DataError: the file cannot be read, or a line is not a box of a known class.
    """
    try:
        lines = read_lines(path, "labels")
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return AnnotatedImage([])
        raise
    found = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return AnnotatedImage([_read_line(f"{path}: line {number}", number, line, class_names) for number, line in found])


def yolo_edges(numbers: Box, image_hw: tuple[int, int]) -> Box:
    """cx, cy, w, h in fractions of the image to pixel edges x0, y0, x1, y1."""
    height, width = image_hw
    cx, cy, w, h = numbers
    return (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height


def yolo_line(label: int, edges: Sequence[float], image_hw: tuple[int, int]) -> str:
    """Pixel edges x0, y0, x1, y1 of a class as a line ``class cx cy w h``; ``yolo_edges`` gives them back."""
    height, width = image_hw
    x0, y0, x1, y1 = edges
    fractions = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return f"{label} {' '.join(f'{value:.9f}' for value in fractions)}"


def _read_line(where: str, number: int, line: str, class_names: Sequence[str]) -> WrittenObject:
    words = line.split()
    if len(words) != 5:
        kind = ", perhaps a segmentation polygon" if len(words) > 6 else ""
        raise DataError(f"{where} has {counted(len(words), 'value')}{kind}; {_EXPECTED}")
    label, *fractions = (finite_number(word, where) for word in words)
    if label not in range(len(class_names)):
        last = len(class_names) - 1
        raise DataError(f"{where} has class {words[0]}; expected a whole number from 0 to {last}, as 'names' has them")
    for word, value in zip(words[1:], fractions, strict=True):
        if not -EXCESS <= value <= 1 + EXCESS:
            raise DataError(f"{where} has {word}; expected fractions of the image, 0 to 1, not pixels")
    cx, cy, w, h = fractions
    return WrittenObject(f"line {number}", class_names[int(label)], (cx, cy, w, h))

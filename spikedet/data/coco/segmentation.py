"""COCO's ``segmentation`` reduced to the box around it: polygons, and run lengths as numbers or as text.

pycocotools decodes run lengths without checking them, so a file could crash it; only sums are needed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate, chain
from typing import Any

from spikedet.common.errors import DataError
from spikedet.data.values import is_number, shown

MAX_SIDE_PX = 100_000


def segmentation_box(where: str, written: object) -> list[float] | None:
    """x, y, width and height around a segmentation; None where there is none.

    Raises:
        DataError: it is no polygons and no run lengths, or covers nothing.
    """
    if not written:
        return None
    if isinstance(written, Mapping):
        return _around_runs(where, written)
    numbers = list(chain(*written)) if isinstance(written, list) and all(isinstance(p, list) for p in written) else []
    if len(numbers) < 6 or len(numbers) % 2 or not all(map(is_number, numbers)):
        raise DataError(f"{where} has the segmentation {shown(written)}; expected polygons, x and y in turn")
    xs, ys = numbers[::2], numbers[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _around_runs(where: str, written: Mapping[str, Any]) -> list[float]:
    """The box of run lengths, which go down column by column and begin with what is outside."""
    size, counts = written.get("size"), written.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(s) is int and 0 < s <= MAX_SIDE_PX for s in size)):
        raise DataError(f"{where} has the segmentation size {shown(size)}; expected height and width")
    runs = list(_decoded(counts)) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise DataError(f"{where} has run lengths {shown(counts)}; expected COCO's, as numbers or as text")
    height, width = size
    ends = list(accumulate(runs))
    if not ends or ends[-1] > height * width:
        raise DataError(f"{where} has run lengths of {ends[-1] if ends else 0} pixels; expected {height} x {width}")
    inside = [(begin, end) for begin, end in zip(ends[::2], ends[1::2], strict=False) if end > begin]
    if not inside:
        raise DataError(f"{where} has a segmentation that covers no pixel; give it a 'bbox', or remove it")
    x0, x1 = inside[0][0] // height, (inside[-1][1] - 1) // height + 1
    whole = any(begin // height != (end - 1) // height for begin, end in inside)
    y0 = 0 if whole else min(begin % height for begin, _ in inside)
    y1 = height if whole else max((end - 1) % height for _, end in inside) + 1
    return [x0, y0, x1 - x0, y1 - y0]


def _decoded(text: str) -> Iterator[int]:
    """COCO's text of run lengths: five bits a character; from the third on, differences to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            yield -1
            return
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            yield runs[-1]
            value = shift = 0

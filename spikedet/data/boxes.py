"""Annotated boxes made to fit their image, the count of those that did not, and boxes that are there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from spikedet.common.errors import DataError
from spikedet.data.dataset import BoxIssues, Sample
from spikedet.data.layout import Box

TOLERATED_PX = 1
"""At most this far outside is no problem: tools that count from 0 write it into VOC files, others round."""


def refuse_fractions(where: str, edges: Box) -> None:
    """Raise DataError for x0, y0, x1, y1 that are fractions of the image and not pixels."""
    if max(edges) <= 1 and min(edges) >= 0 and any(edge != int(edge) for edge in edges):
        numbers = ", ".join(f"{edge:g}" for edge in edges)
        raise DataError(f"{where} has the corners {numbers}; expected pixels, not fractions of the image")


def fit_box(edges: Box, image_hw: tuple[int, int], written: Box) -> tuple[Box | None, str, str]:
    """Pixel edges sorted and clipped to the image, in float32.

    Args:
        edges: x0, y0, x1, y1.
        image_hw: height and width in pixels.
        written: the numbers that the annotation has, for the problem's text.

    Returns:
        The box, None where no area is left; the problem's kind, as ``BoxIssues`` calls it, and its text, or "" and "".
    """
    height, width = image_hw
    numbers = ", ".join(f"{number:g}" for number in written)
    if swapped := edges[2] < edges[0] or edges[3] < edges[1]:
        edges = min(edges[::2]), min(edges[1::2]), max(edges[::2]), max(edges[1::2])
    if edges[2] <= edges[0] or edges[3] <= edges[1]:
        return None, "dropped", f"has no area: {numbers}"
    limits = (width, height, width, height)
    inside = [min(max(edge, 0.0), limit) for edge, limit in zip(edges, limits, strict=True)]
    x0, y0, x1, y1 = (float(np.float32(edge)) for edge in inside)
    if x1 <= x0 or y1 <= y0:
        return None, "dropped", f"has no area within the {width} x {height} image: {numbers}"
    outside = max(abs(edge - kept) for edge, kept in zip(edges, inside, strict=True)) > TOLERATED_PX
    problems = [f"has swapped corners: {numbers}"] * swapped
    problems += [f"reaches outside the {width} x {height} image: {numbers}"] * outside
    return (x0, y0, x1, y1), "swapped" if swapped else "clipped" if outside else "", " and ".join(problems)


def repeated_boxes(samples: Sequence[Sample], class_names: Sequence[str]) -> Iterator[str]:
    """A sentence for each box that several objects of one class and image have."""
    for sample in samples:
        rows, times = np.unique(np.column_stack([sample.labels, sample.boxes_xyxy]), axis=0, return_counts=True)
        for (label, *edges), count in zip(rows.tolist(), times.tolist(), strict=True):
            if count > 1:
                where = f"{class_names[int(label)]} at {', '.join(f'{edge:g}' for edge in edges)}"
                yield f"{sample.image_path}: {count} objects have the same class and box, {where}; keep one"


def count_issues(problems: Sequence[tuple[str, str]]) -> BoxIssues:
    """Problems by their kind and text, every text among the examples."""
    return BoxIssues(**Counter(kind for kind, _ in problems), examples=tuple(text for _, text in problems))

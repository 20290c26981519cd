"""Objects by class and the sizes of their boxes, split by split, as an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikedet.data.statistics import LARGE_SIDE_PX, SMALL_SIDE_PX
from spikedet.visualization.figure import OKABE_ITO, new_figure

SIDE_BINS = 40
MOST_CLASSES = 100
"""Classes that have a bar: those with the most objects, if there are more."""


def plot_data(
    counts: Mapping[str, Mapping[str, int]], sides_px: Mapping[str, npt.NDArray[np.float64]], path: Path
) -> Path:
    """Draw class counts (left) and a histogram of box sides (right) and write a PNG in one step.

    Args:
        counts: by split, objects by class name; every split has the same classes. Of more than ``MOST_CLASSES`` those
            with the most objects are drawn.
        sides_px: by split, ``[objects]`` square roots of the box areas, pixels.
        path: the image.

    Returns:
        The path.

    Raises:
        SpikedetError: if it cannot be written.
    """
    every = list(next(iter(counts.values()), {}))
    names = sorted(every, key=lambda name: -sum(by_class[name] for by_class in counts.values()))[:MOST_CLASSES]
    drawn = set(names)
    names = [name for name in every if name in drawn]
    colours = [OKABE_ITO[index % len(OKABE_ITO)] for index in range(len(counts))]
    with new_figure(path, 2, width=11, height=max(4.5, 1 + 0.25 * len(names)), legend="small") as (
        count_axes,
        side_axes,
    ):
        _draw_counts(count_axes, counts, names, colours)
        if len(names) < len(every):
            count_axes.set_title(f"{len(names)} of {len(every)} classes, those with the most objects")
        _draw_sides(side_axes, sides_px, colours)
    return Path(path)


def _draw_counts(
    axes: Any, counts: Mapping[str, Mapping[str, int]], names: Sequence[str], colours: Sequence[str]
) -> None:
    """One group of horizontal bars for each class, the first class on top."""
    height = 0.8 / max(len(counts), 1)
    for index, (split, by_class) in enumerate(counts.items()):
        rows = np.arange(len(names)) - 0.4 + height * (index + 0.5)
        axes.barh(rows, [by_class[name] for name in names], height, color=colours[index], label=split)
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.set(xlabel="objects", ylim=(len(names) - 0.5, -0.5) if names else (0, 1))
    axes.grid(visible=False, axis="y")


def _draw_sides(axes: Any, sides_px: Mapping[str, npt.NDArray[np.float64]], colours: Sequence[str]) -> None:
    """Fractions of each split's objects over the side, on a logarithmic scale."""
    largest = max((float(sides.max()) for sides in sides_px.values() if len(sides)), default=1.0)
    smallest = min((float(sides.min()) for sides in sides_px.values() if len(sides)), default=1.0)
    bins = np.geomspace(smallest, max(largest, smallest * 1.01) * (1 + 1e-9), SIDE_BINS + 1)
    for sides, colour in zip(sides_px.values(), colours, strict=True):
        if len(sides):
            weights = np.full(len(sides), 100 / len(sides))
            axes.hist(sides, bins, weights=weights, histtype="step", color=colour, linewidth=1.5)
    for side in (SMALL_SIDE_PX, LARGE_SIDE_PX):
        axes.axvline(side, color="0.5", linestyle="--", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="side of the box (square root of its area), px", ylabel="objects, %")

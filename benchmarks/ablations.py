"""What each part of a conversion is worth, as images: calibration images, parts of the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from spikedet.evaluation.results import ResultRow
from spikedet.visualization.curves import ap_axes
from spikedet.visualization.figure import MARKERS, colour_of, label_ends

Point = tuple[int, float]


def plot_ap_by_images(rows: Sequence[ResultRow], path: Path) -> Path:
    """AP50:95 (percent) against the number of calibration images, a line for each T, stage and neuron; a PNG.

    Networks with copied weights stand at 0 images; ANNs are dashed horizontals.
    """
    with ap_axes(path) as axes:
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.xaxis.set_major_formatter("{x:g}")
        labelled = _levels(axes, rows)
        for (label, points), marker in zip(images_lines(rows).items(), cycle(MARKERS)):
            counts, aps = zip(*points, strict=True)
            how = {"marker": marker, "markersize": 5, "color": colour_of(label)}
            labelled += [(label.replace(", T", "\nT"), axes.plot(counts, aps, **how)[0])]
        axes.set_xlabel("calibration images (a fifth of them held out)")
        label_ends(axes, labelled)
    return path


def images_lines(rows: Sequence[ResultRow]) -> dict[str, list[Point]]:
    """``(images, AP)`` of each line by its label, by rising number of images."""
    copied = {_made_for(row): row.AP for row in rows if row.stage == "copied" and row.AP is not None}
    lines: dict[str, set[Point]] = {}
    for row in rows:
        if row.calibration_images is not None and row.AP is not None and not row.read_early:
            line = lines.setdefault(f"{row.network}, T = {row.T}, {row.neuron}", set())
            line.add((row.calibration_images, row.AP))
            if (start := copied.get(_made_for(row))) is not None:
                line.add((0, start))
    return {label: sorted(points) for label, points in sorted(lines.items())}


def plot_parts(rows: Sequence[ResultRow], path: Path) -> Path:
    """AP50:95 (percent) after each part of the calibration, a group of bars for each T; a PNG."""
    groups: dict[int, dict[str, float]] = {}
    colours: dict[str, str] = {}
    for row in rows:
        if row.spiking and row.AP is not None and row.T and not row.read_early:
            groups.setdefault(row.T, {})[part_name(row)] = row.AP
            colours[part_name(row)] = colour_of(row.network)
    with ap_axes(path) as axes:
        labelled = _levels(axes, rows)
        width = 0.8 / max(len(colours), 1)
        for index, (name, colour) in enumerate(colours.items()):
            places = [place + (index - (len(colours) - 1) / 2) * width for place in range(len(groups))]
            heights = [group.get(name, 0.0) for group in groups.values()]
            earlier = list(colours.values())[:index].count(colour)  # parts of one stage are shades of its colour
            bars = axes.bar(places, heights, width, label=name, color=colour, alpha=1 - 0.3 * earlier)
            axes.bar_label(bars, fmt="%.1f", fontsize="x-small")
        axes.set_xticks(range(len(groups)), [f"T = {T}" for T in groups])
        axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # room for the legend
        label_ends(axes, labelled)
    return path


def part_name(row: ResultRow) -> str:
    """``weights copied``, ``coarse``, or what was trained."""
    if row.stage == "joint":
        return row.calibrated or row.stage
    if row.stage == "fine":
        return f"coarse, fine: {row.calibrated}"
    return "weights copied" if row.stage == "copied" else "coarse"


def _made_for(row: ResultRow) -> tuple[Any, ...]:
    return (row.T, row.neuron, row.delay, row.finetuned, row.seed)


def ann_levels(rows: Sequence[ResultRow]) -> dict[str, float]:
    """AP of the ANNs by name, those with an AP; of Stage I runs that follow each other the last counts."""
    return {row.network: row.AP for row in rows if row.stage == "ann" and row.AP is not None}


def _levels(axes: Any, rows: Sequence[ResultRow]) -> list[tuple[str, Any]]:
    """ANNs as dashed horizontals, and their labels."""
    return [
        (label, axes.axhline(level, linestyle="--", linewidth=1.2, color=colour_of(label)))
        for label, level in ann_levels(rows).items()
    ]

"""What each part of a conversion is worth, as images: calibration images, parts of the calibration, classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from spikedet.evaluation.results import ResultRow
from spikedet.visualization.curves import ann_levels, ap_axes
from spikedet.visualization.figure import MARKERS, OKABE_ITO

Point = tuple[int, float]


def plot_ap_by_images(rows: Sequence[ResultRow], path: Path) -> Path:
    """AP50:95 (percent) against the number of calibration images, a line for each T, stage and neuron; a PNG.

    Networks with copied weights stand at 0 images; ANNs are dashed horizontals.
    """
    with ap_axes(path) as axes:
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.xaxis.set_major_formatter("{x:g}")
        _levels(axes, rows)
        markers, colours = cycle(MARKERS), cycle(OKABE_ITO[1:])
        for label, points in images_lines(rows).items():
            counts, aps = zip(*points, strict=True)
            axes.plot(counts, aps, marker=next(markers), markersize=4, color=next(colours), label=label)
        axes.set_xlabel("calibration images (a fifth of them held out)")
    return path


def images_lines(rows: Sequence[ResultRow]) -> dict[str, list[Point]]:
    """``(images, AP)`` of each line by its label, by rising number of images."""
    copied = {_made_for(row): row.AP for row in rows if row.stage == "copied" and row.AP is not None}
    lines: dict[str, set[Point]] = {}
    for row in rows:
        if row.calibration_images is not None and row.AP is not None and not row.read_early:
            line = lines.setdefault(f"T = {row.T}, {row.neuron}, {row.stage}", set())
            line.add((row.calibration_images, row.AP))
            if (start := copied.get(_made_for(row))) is not None:
                line.add((0, start))
    return {label: sorted(points) for label, points in sorted(lines.items())}


def plot_parts(rows: Sequence[ResultRow], path: Path) -> Path:
    """AP50:95 (percent) after each part of the calibration, a group of bars for each T; a PNG."""
    groups: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.stage not in ("ann", "qc") and row.AP is not None and row.T and not row.read_early:
            groups.setdefault(row.T, {})[part_name(row)] = row.AP
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    with ap_axes(path) as axes:
        _levels(axes, rows)
        width = 0.8 / max(len(names), 1)
        for index, (name, colour) in enumerate(zip(names, cycle(OKABE_ITO[1:]))):
            places = [place + (index - (len(names) - 1) / 2) * width for place in range(len(groups))]
            bars = axes.bar(
                places, [group.get(name, 0.0) for group in groups.values()], width, label=name, color=colour
            )
            axes.bar_label(bars, fmt="%.1f", fontsize="x-small")
        axes.set_xticks(range(len(groups)), [f"T = {T}" for T in groups])
    return path


def part_name(row: ResultRow) -> str:
    """``weights copied``, ``coarse``, or what was trained."""
    if row.stage == "joint":
        return row.calibrated or row.stage
    if row.stage == "fine":
        return f"coarse, fine: {row.calibrated}"
    return "weights copied" if row.stage == "copied" else "coarse"


def plot_ap_by_class(rows: Sequence[ResultRow], path: Path) -> Path:
    """AP50:95 (percent) of every class, sorted by the source's; a mark for each network; a PNG."""
    shown = class_aps(rows)
    first = next(iter(shown.values()), {})
    order = sorted(first, key=lambda name: -(first[name] or 0.0))
    with ap_axes(path, width=10) as axes:
        for (label, aps), marker, colour in zip(shown.items(), cycle(MARKERS), cycle(OKABE_ITO)):
            axes.plot(range(len(order)), [aps[name] for name in order], marker, color=colour, label=label, alpha=0.8)
        axes.set_xticks(range(len(order)), order, rotation=45, ha="right")
    return path


def class_aps(rows: Sequence[ResultRow]) -> dict[str, dict[str, float | None]]:
    """AP of every class by the label of each network; of Stage I runs that follow each other the last one's ANN."""
    shown = [row for row in rows if row.per_class and not row.read_early and row.stage != "qc"]
    return {
        row.network + (f", T = {row.T}, {row.neuron}" if row.T else ""): {
            name: aps["AP"] for name, aps in (row.per_class or {}).items()
        }
        for row in shown
    }


def _made_for(row: ResultRow) -> tuple[Any, ...]:
    return (row.T, row.neuron, row.delay, row.finetuned, row.seed)


def _levels(axes: Any, rows: Sequence[ResultRow]) -> None:
    for (label, level), style in zip(dict(ann_levels(rows)).items(), cycle(("--", ":"))):
        axes.axhline(level, linestyle=style, linewidth=1.2, color=OKABE_ITO[0], label=label)

"""What each part of a conversion is worth, as images: calibration images, parts of it, latency and operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from spikedet.evaluation.results import METHODS, ResultRow
from spikedet.visualization.curves import ap_axes
from spikedet.visualization.figure import MARKERS, OKABE_ITO, colour_of, label_ends, new_figure
from spikedet.visualization.lines import NEURONS

Point = tuple[int, float]
COSTS: dict[str, Callable[[ResultRow], float | None]] = {
    "latency L, steps": lambda row: row.L,
    "synaptic operations of an image, millions": lambda row: row.operations.sops / 1e6 if row.operations else None,
}


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
            waits = f", {row.waiting}" if row.waiting else ""
            line = lines.setdefault(f"{row.network}, T = {row.T}, {row.neuron}{waits}", set())
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


def plot_frontier(rows: Sequence[ResultRow], path: Path) -> Path:
    """AP50:95 (percent) against latency L and against synaptic operations, a mark for each network and t; a PNG.

    The line of each panel is the frontier: no other network has as much AP for less.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    whole = max((row.images for row in rows), default=0)  # rows of fewer images have other APs
    rows = [row for row in rows if row.images == whole]
    spiking = [row for row in rows if row.spiking and row.AP is not None]
    kinds: dict[str, list[ResultRow]] = {}
    for row in spiking:
        kinds.setdefault(kind_name(row), []).append(row)
    with new_figure(path, 2, width=9, height=4.2, legend="small", sharey=True) as panels:
        for axes, (label, cost) in zip(panels, COSTS.items(), strict=True):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel(label)
            points: list[tuple[float, float]] = []
            for (kind, own), marker, colour in zip(kinds.items(), cycle(MARKERS), cycle(OKABE_ITO)):
                places = [(value, row.AP) for row in own if (value := cost(row)) and row.AP is not None]
                values, aps = zip(*places, strict=True) if places else ((), ())
                axes.plot(values, aps, marker, color=colour, alpha=0.8, label=kind if axes is panels[0] else None)
                points += places
            best = frontier(points)
            if best:
                axes.step(*zip(*best, strict=True), where="post", color="#000000", linewidth=0.8)
            for name, level in ann_levels(rows).items():
                shown = name if axes is panels[0] else None
                axes.axhline(level, linestyle="--", linewidth=1, color=colour_of(name), label=shown)
        panels[0].set_ylabel("AP50:95 (%)")
    return path


def kind_name(row: ResultRow) -> str:
    """The method, or the neuron and which of its layers wait before they fire."""
    if row.method in METHODS:
        return METHODS[row.method]
    waits = "some layers waiting" if row.latency else "waiting" if row.delay else "no delay"
    return f"{NEURONS.get(row.neuron or '', 'IF')}, {waits}"


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of ``(cost, AP)`` those that have more AP than all of no greater cost, by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, ap in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or ap > best[-1][1]:
            best.append((cost, ap))
    return best


def part_name(row: ResultRow) -> str:
    """``weights copied``, ``coarse``, or what was trained."""
    if row.stage == "joint":
        return row.calibrated or row.stage
    if row.stage == "fine":
        return f"coarse, fine: {row.calibrated}"
    return "weights copied" if row.stage == "copied" else "coarse"


def _made_for(row: ResultRow) -> tuple[Any, ...]:
    return (row.T, row.neuron, row.waiting, row.finetuned, row.seed)


def ann_levels(rows: Sequence[ResultRow]) -> dict[str, float]:
    """AP of the ANNs by name, those with an AP; of clip ANNs after several Stage I runs the best."""
    levels: dict[str, float] = {}
    for row in rows:
        if row.stage == "ann" and row.AP is not None:
            levels[row.network] = max(row.AP, levels.get(row.network, row.AP))
    return levels


def _levels(axes: Any, rows: Sequence[ResultRow]) -> list[tuple[str, Any]]:
    """ANNs as dashed horizontals, and their labels."""
    return [
        (label, axes.axhline(level, linestyle="--", linewidth=1.2, color=colour_of(label)))
        for label, level in ann_levels(rows).items()
    ]

"""AP50:95 against the number of steps read out, as an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from spikedet.evaluation.results import ResultRow
from spikedet.visualization.figure import MARKERS, OKABE_ITO, new_figure

FULL_WINDOW = "t = T"
STYLES = ("-", ":", "-.")
ORIGIN = ("method", "model", "data", "split", "images", "seed")


def plot_ap_by_t(rows: Sequence[ResultRow], path: Path) -> Path:
    """Draw AP50:95 (percent) against t and write a PNG at 150 dpi in one step.

    One line for each stage, Stage I or not, neuron and delay: through the networks read at their own T ("t = T"), and
    one through the readings of each network that was also read early. A QC-ANN stands at its T; ANNs are dashed
    horizontals. Rows without AP or without t and T (other than ANNs) are not drawn.

    Returns:
        The path.

    Raises:
        SpikedetError: if it cannot be written.
    """
    with ap_axes(path) as axes:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        colours, markers = cycle(OKABE_ITO), cycle(MARKERS)
        for label, level in ann_levels(rows):
            axes.axhline(level, linestyle="--", linewidth=1.2, color=next(colours), label=label)
        for number, (label, points) in enumerate(ap_lines(rows).items()):
            steps, aps = zip(*points, strict=True)
            style = STYLES[number // len(MARKERS) % len(STYLES)]  # colours and markers come round together
            axes.plot(steps, aps, style, marker=next(markers), markersize=4, color=next(colours), label=label)
        axes.set_xlabel("t, steps read out")
    return Path(path)


@contextmanager
def ap_axes(path: Path, width: float = 8) -> Iterator[Any]:
    """Axes with AP50:95 upwards, to draw on; then a legend and a PNG at 150 dpi, written in one step."""
    with new_figure(path, width=width, legend="small") as axes:
        axes.set_ylabel("AP50:95 (%)")
        axes.grid(alpha=0.3)
        yield axes


def ann_levels(rows: Sequence[ResultRow]) -> list[tuple[str, float]]:
    """``(label, AP)`` of the ANN rows with an AP; of Stage I runs that follow each other the last counts."""
    origin = _origin_names(rows)
    return list(
        {row.network + origin(row): row.AP for row in rows if row.stage == "ann" and row.AP is not None}.items()
    )


def ap_lines(rows: Sequence[ResultRow]) -> dict[str, list[tuple[int, float]]]:
    """The points ``(t, AP)`` of each line by its label, by rising t; of several at one t the last counts."""
    origin = _origin_names(rows)
    drawn = [row for row in rows if row.stage != "ann" and row.AP is not None and row.T is not None]
    early = {(*_series(row), row.T) for row in drawn if row.read_early}
    lines: dict[str, dict[int, float]] = {}
    for row in drawn:
        windows = [f"T = {row.T}"] if (*_series(row), row.T) in early else []
        windows += [] if row.read_early else [FULL_WINDOW]
        for window in windows:
            lines.setdefault(f"{_name(row)}, {window}{origin(row)}", {})[row.t or row.T or 0] = row.AP or 0.0
    return {label: sorted(points.items()) for label, points in lines.items()}


def _series(row: ResultRow) -> tuple[Any, ...]:
    """What one line has in common, its T aside."""
    return (row.stage, row.finetuned, row.neuron, row.delay or 0, *(getattr(row, name) for name in ORIGIN))


def _name(row: ResultRow) -> str:
    parts = [row.network, *(["Stage I"] if row.finetuned else []), *([row.neuron] if row.neuron else [])]
    return ", ".join([*parts, *([f"delay {row.delay}"] if row.delay else [])])


def _origin_names(rows: Sequence[ResultRow]) -> Any:
    """A function from a row to the part of its label that tells models, data and seeds apart; empty where alike.

    What is usual goes without saying: the two-stage method, and the largest number of images.
    """
    varying = [name for name in ORIGIN if len({getattr(row, name) for row in rows}) > 1]
    usual = {"method": "two-stage", "images": max((row.images for row in rows), default=0)}

    def origin(row: ResultRow) -> str:
        values = {name: getattr(row, name) for name in varying}
        said = [f"{name} {value}" for name, value in values.items() if value != usual.get(name)]
        return f" ({', '.join(said)})" if said else ""

    return origin

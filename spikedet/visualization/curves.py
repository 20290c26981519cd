"""AP50:95 against the number of steps read out, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from spikedet.evaluation.results import ResultRow
from spikedet.visualization.figure import MARKERS, OKABE_ITO, new_figure

FULL_WINDOW = "t = T"
ORIGIN = ("method", "model", "data", "split", "seed")


def plot_ap_by_t(rows: Sequence[ResultRow], path: Path) -> Path:
    """Draw AP50:95 (percent) against t and write a PNG at 150 dpi in one step.

    One line for each stage, Stage I or not, neuron and delay: through the networks read at their own T ("t = T"), and
    one through the read-outs of each network that was also read early. A QC-ANN stands at its T; ANNs are dashed
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
        for label, points in ap_lines(rows).items():
            steps, aps = zip(*points, strict=True)
            axes.plot(steps, aps, marker=next(markers), markersize=4, color=next(colours), label=label)
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
    """``(label, AP)`` of every ANN row with an AP."""
    origin = _origin_names(rows)
    return [(row.network + origin(row), row.AP) for row in rows if row.stage == "ann" and row.AP is not None]


def ap_lines(rows: Sequence[ResultRow]) -> dict[str, list[tuple[int, float]]]:
    """The points ``(t, AP)`` of each line by its label, by rising t."""
    origin = _origin_names(rows)
    drawn = [row for row in rows if row.stage != "ann" and row.AP is not None and row.T is not None]
    early = {(*_series(row), row.T) for row in drawn if row.read_early}
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in drawn:
        windows = [f"T = {row.T}"] if (*_series(row), row.T) in early else []
        windows += [] if row.read_early else [FULL_WINDOW]
        for window in windows:
            point = (row.t or row.T or 0, row.AP or 0.0)
            lines.setdefault(f"{_name(row)}, {window}{origin(row)}", []).append(point)
    return {label: sorted(points) for label, points in lines.items()}


def _series(row: ResultRow) -> tuple[Any, ...]:
    """What one line has in common, its T aside."""
    return (row.stage, row.finetuned, row.neuron, row.delay or 0, *(getattr(row, name) for name in ORIGIN))


def _name(row: ResultRow) -> str:
    parts = [row.network, *(["Stage I"] if row.finetuned else []), *([row.neuron] if row.neuron else [])]
    return ", ".join([*parts, *([f"delay {row.delay}"] if row.delay else [])])


def _origin_names(rows: Sequence[ResultRow]) -> Any:
    """A function from a row to the part of its label that tells models, data and seeds apart; empty where alike."""
    varying = [name for name in ORIGIN if len({getattr(row, name) for row in rows}) > 1]

    def origin(row: ResultRow) -> str:
        return f" ({', '.join(f'{name} {getattr(row, name)}' for name in varying)})" if varying else ""

    return origin

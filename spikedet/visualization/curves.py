"""AP50:95 against the number of time steps, and by class, as images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from spikedet.evaluation.results import ResultRow
from spikedet.visualization.figure import MARKERS, colour_of, label_ends, new_figure
from spikedet.visualization.lines import chosen_lines


def plot_ap_by_t(rows: Sequence[ResultRow], path: Path) -> Path:
    """Draw AP50:95 (percent) against t and write a PNG in one step.

    At most six lines, chosen by ``chosen_lines`` and labelled at their ends: solid through networks read at their T,
    dotted where one network is read early; ANNs are dashed. Bars are the range over seeds.

    Returns:
        The path.

    Raises:
        SpikedetError: if it cannot be written.
    """
    drawn, left_out = chosen_lines(rows)
    with ap_axes(path) as axes:
        axes.set_xscale("log", base=2)
        labelled = []
        for line in drawn:
            steps, aps, low, high = zip(*line.points, strict=True)
            if steps == (0,):
                labelled.append((line.label, axes.axhline(aps[0], linestyle="--", linewidth=1.2, color=line.colour)))
                continue
            bars = [[a - b for a, b in zip(aps, low, strict=True)], [b - a for a, b in zip(aps, high, strict=True)]]
            how = {"marker": line.marker, "markersize": 5, "linestyle": ":" if line.early else "-"}
            bar = axes.errorbar(steps, aps, bars if low != high else None, color=line.colour, capsize=2, **how)
            labelled.append((line.label, bar[0]))
        shown = sorted({point[0] for line in drawn for point in line.points if point[0]})
        axes.set_xticks([t for t in shown if t.bit_count() == 1] or shown)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
        notes = ["dotted: one network, read out early at t < T"] if any(line.early for line in drawn) else []
        notes += [f"{left_out} more in the table"] if left_out else []
        axes.set_xlabel("\n".join(["t, time steps", *notes]))
        label_ends(axes, labelled)
    return Path(path)


@contextmanager
def ap_axes(path: Path, width: float = 6) -> Iterator[Any]:
    """Axes with AP50:95 upwards, to draw on; then a legend and a PNG, written in one step."""
    with new_figure(path, width=width, legend="small") as axes:
        axes.set_ylabel("AP50:95 (%)")
        yield axes


def plot_ap_by_class(rows: Sequence[ResultRow], path: Path) -> Path:
    """AP50:95 (percent) of every class, sorted by the source's; a mark for each network; a PNG."""
    shown = class_aps(rows)
    first = next(iter(shown.values()), {})
    order = sorted(first, key=lambda name: -(first[name] or 0.0))
    with ap_axes(path, width=max(6, 0.5 * len(order))) as axes:
        for (label, aps), marker in zip(shown.items(), cycle(MARKERS)):
            how = {"color": colour_of(label), "label": label, "alpha": 0.8}
            axes.plot(range(len(order)), [aps[name] for name in order], marker, **how)
        axes.set_xticks(range(len(order)), order, rotation=45, ha="right")
    return path


def class_aps(rows: Sequence[ResultRow]) -> dict[str, dict[str, float | None]]:
    """AP of every class by the label of each network; of Stage I runs that follow each other the last one's ANN."""
    shown = [row for row in rows if row.per_class and not row.read_early and (row.spiking or row.stage == "ann")]
    return {
        row.network + (f", T = {row.T}, {row.neuron}" if row.T else "") + (f", {row.waiting}" if row.waiting else ""): {
            name: aps["AP"] for name, aps in (row.per_class or {}).items()
        }
        for row in shown
    }

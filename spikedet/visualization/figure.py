"""A figure that is drawn on and then written as a PNG in one step; pyplot stays unused.

A network has one colour in every plot: it says how the network was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikedet.common.files import atomic_path

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # its yellow is too pale
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

COLOURS = {
    "ANN": "#000000",
    "clip ANN": "#7F7F7F",
    "QC-ANN": "#E69F00",
    "quantized ANN": "#E69F00",
    "SFA": "#882255",
    "SNN": "#0072B2",  # after joint calibration, or the only one of a plot
    "SNN, weights copied": "#56B4E9",
    "C-LIF": "#999933",
    "SNN + coarse": "#CC79A7",
    "SNN + coarse + fine": "#009E73",
}
"""Colours by the beginning of a network's name; the longest that fits counts."""
BASELINE = "#D55E00"
"""The colour of networks of another method."""

DPI = 200
LABEL_POINTS = 9
NEAR = 0.9
MANY, LEGEND_INCHES = 8, 4
"""A legend of more entries than this stands beside its axes, in a figure that is so much wider."""


def colour_of(network: str) -> str:
    """The colour of a network by its name in tables, for example ``SNN + joint, signed``."""
    return COLOURS[max((start for start in COLOURS if network.startswith(start)), key=len, default="ANN")]


@contextmanager
def new_figure(
    path: Path,
    columns: int = 1,
    *,
    rows: int = 1,
    width: float = 6,
    height: float = 4.2,
    legend: str = "x-small",
    **subplots: Any,
) -> Iterator[Any]:
    """Axes (one, or an array of them) to draw on; then a legend where something has a label, and a PNG at 200 dpi.

    A ``$`` in a label is a dollar sign: class and model names are not formulas.

    Args:
        path: the file.
        columns, rows: of axes.
        width, height: of the whole, inches; six inches can be read on a telephone.
        legend: its font size; empty draws none.
        subplots: further arguments of ``Figure.subplots``.

    Raises:
        SpikedetError: if the image cannot be written.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    style: Any = {"text.parse_math": False, "axes.prop_cycle": cycler(color=OKABE_ITO)}
    style |= {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}
    with rc_context(style), atomic_path(Path(path)) as temporary:
        yield figure.subplots(rows, columns, **subplots)
        for axes in figure.axes:
            labelled = len(axes.get_legend_handles_labels()[0])
            if legend and labelled > MANY:
                figure.set_figwidth(width + LEGEND_INCHES)
                axes.legend(fontsize=legend, loc="upper left", bbox_to_anchor=(1, 1))
            elif legend and labelled:
                axes.legend(fontsize=legend)
        figure.savefig(temporary, format="png", dpi=DPI)


def label_ends(axes: Any, lines: Sequence[tuple[str, Any]]) -> None:
    """Write labels to the right of axes, at the height at which their lines end, each beside a piece of its line.

    A hair ties it to a line that ends near the border.

    Args:
        axes: with their final limits.
        lines: labels, and the ``Line2D`` of each.
    """
    axes.get_xlim(), axes.get_ylim()  # brings the limits up to date
    ends = [axes.transAxes.inverted().transform(h.get_transform().transform(h.get_xydata()[-1])) for _, h in lines]
    order = sorted(range(len(lines)), key=lambda i: float(ends[i][1]))
    line = 1.3 * LABEL_POINTS / 72 / (0.85 * axes.figure.get_figheight())
    rooms = [line * (1.2 + lines[i][0].count("\n")) for i in order]
    within = {"transform": axes.transAxes, "clip_on": False}
    for i, place in zip(order, spread([float(ends[i][1]) for i in order], rooms), strict=True):
        label, handle = lines[i]
        same = {name: getattr(handle, f"get_{name}")() for name in ("color", "marker", "markersize", "linestyle")}
        axes.plot([1.03, 1.06, 1.09], [place] * 3, markevery=[1], **same, **within)
        if ends[i][0] > NEAR:
            axes.plot([ends[i][0], 1.03], [ends[i][1], place], color=same["color"], linewidth=0.6, alpha=0.6, **within)
        axes.text(1.11, place, label, fontsize=LABEL_POINTS, va="center", linespacing=1.1, **within)


def spread(wanted: Sequence[float], rooms: Sequence[float]) -> list[float]:
    """Middles of labels so that none overlaps, near those that are wanted, within 0 to 1 as long as there is room.

    Args:
        wanted: middles, rising.
        rooms: height of each.
    """
    places: list[float] = []
    top = 0.0
    for middle, room in zip(wanted, rooms, strict=True):
        places.append(max(middle, top + room / 2))
        top = places[-1] + room / 2
    limit = max(1.0, sum(rooms))
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit - rooms[i] / 2)
        limit = places[i] - rooms[i] / 2
    return places


def draw_wanted(plots: Sequence[tuple[str, Callable[[Path], Path], bool]], folder: Path) -> list[Path]:
    """Images of a report as ``NAME.png``; one that an earlier report has left there and is not wanted is removed.

    Args:
        plots: name, what draws it, and whether it is wanted.
        folder: of the report.

    Returns:
        Paths of those that were drawn, in this order.
    """
    drawn = [draw(folder / f"{name}.png") for name, draw, wanted in plots if wanted]
    for name, _, wanted in plots:
        if not wanted:
            (folder / f"{name}.png").unlink(missing_ok=True)
    return drawn


def name_layers(axes: Any, names: list[str]) -> None:
    """Layers along the horizontal axis."""
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize="x-small")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="x")

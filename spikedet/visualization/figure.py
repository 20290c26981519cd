"""A figure that is drawn on and then written as a PNG in one step; pyplot stays unused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikedet.common.files import atomic_path

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # its yellow is too pale
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

MANY, LEGEND_INCHES = 8, 4
"""A legend of more entries than this stands beside its axes, in a figure that is so much wider."""


@contextmanager
def new_figure(
    path: Path,
    columns: int = 1,
    *,
    rows: int = 1,
    width: float = 8,
    height: float = 5,
    legend: str = "x-small",
    **subplots: Any,
) -> Iterator[Any]:
    """Axes (one, or an array of them) to draw on; then a legend where something has a label, and a PNG at 150 dpi.

    A ``$`` in a label is a dollar sign: class and model names are not formulas.

    Args:
        path: the file.
        columns, rows: of axes.
        width, height: of the whole, inches.
        legend: its font size; empty draws none.
        subplots: further arguments of ``Figure.subplots``.

    Raises:
        SpikedetError: if the image cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    with rc_context({"text.parse_math": False}), atomic_path(Path(path)) as temporary:
        yield figure.subplots(rows, columns, **subplots)
        for axes in figure.axes:
            labelled = len(axes.get_legend_handles_labels()[0])
            if legend and labelled > MANY:
                figure.set_figwidth(width + LEGEND_INCHES)
                axes.legend(fontsize=legend, loc="upper left", bbox_to_anchor=(1, 1))
            elif legend and labelled:
                axes.legend(fontsize=legend)
        figure.savefig(temporary, format="png", dpi=150)


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
    axes.grid(axis="y", alpha=0.3)

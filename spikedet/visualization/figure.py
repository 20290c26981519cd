"""A figure that is drawn on and then written as a PNG in one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spikedet.files import atomic_path


@contextmanager
def new_figure(path: Path, columns: int = 1, *, width: float = 8, height: float = 5) -> Iterator[Any]:
    """Axes side by side (one, or an array of ``columns``), inches; a legend wherever something has a label.

    Raises:
        SpikedetError: if the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    yield axes
    for each in figure.axes:
        if each.get_legend_handles_labels()[0]:
            each.legend(fontsize="x-small")
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def name_layers(axes: Any, names: list[str]) -> None:
    """Layers along the horizontal axis."""
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize="x-small")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", alpha=0.3)

"""Loss and held-out AP over the epochs of one training run."""

from __future__ import annotations

import csv
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from spikedet.visualization.figure import new_figure


def read_log(path: Path) -> dict[str, list[float]]:
    """Columns of a training run's log by name; lines that were not written whole are left out."""
    columns: dict[str, list[float]] = defaultdict(list)
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            with suppress(TypeError, ValueError):  # a value too few is None, those too many are a list
                for name, value in {name: float(value) for name, value in row.items()}.items():
                    columns[name].append(value)
    return dict(columns)


def plot_training(log: Path, image: Path) -> Path:
    """Draw the losses (left) and the held-out AP in percent (right) of a run's log as a PNG."""
    columns = read_log(log)
    with new_figure(image, 2, width=10, height=4, legend="medium") as (loss_axes, ap_axes):
        for name, values in columns.items():
            axes = loss_axes if name.startswith("train/") else ap_axes if name.startswith("held_out/") else None
            if axes is not None:
                axes.plot(columns["epoch"], values, label=name.split("/")[1])
        loss_axes.set(xlabel="epoch", ylabel="training loss")
        ap_axes.set(xlabel="epoch", ylabel="AP on held-out training images, %", ylim=(0, 100))
    return image

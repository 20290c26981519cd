"""Energy as pictures: AP against energy, and what each layer does in each step."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np

from spikedet.evaluation.energy import EnergyRow
from spikedet.evaluation.energy_report import EnergyReport
from spikedet.visualization.curves import MARKERS, OKABE_ITO
from spikedet.visualization.figure import name_layers, new_figure


def plot_energy(report: EnergyReport, folder: Path) -> list[Path]:
    """Every picture of a report, as PNGs in a folder; returns their paths."""
    paths = [plot_ap_by_energy(report, folder / "ap_by_energy.png")]
    return [*paths, plot_operations_by_layer(report, folder / "operations_by_layer.png")]


def plot_ap_by_energy(report: EnergyReport, path: Path) -> Path:
    """AP50:95 (percent) against energy for a picture (mJ, logarithmic); networks without an AP stand at 0."""
    series: dict[str, list[EnergyRow]] = {}
    for row in report.rows:
        series.setdefault(f"{row.network}, {row.constants}", []).append(row)
    with new_figure(path) as axes:
        axes.set_xscale("log")
        for (label, rows), marker, colour in zip(series.items(), cycle(MARKERS), cycle(OKABE_ITO)):
            joules, aps = [row.joules * 1e3 for row in rows], [row.AP or 0.0 for row in rows]
            axes.errorbar(
                joules, aps, xerr=[row.joules_std * 1e3 for row in rows], marker=marker, color=colour, label=label
            )
            for row, x, y in zip(rows, joules, aps, strict=True):
                if row.t is not None:
                    axes.annotate(f"t = {row.t}", (x, y), fontsize="x-small", xytext=(3, 3), textcoords="offset points")
        axes.set(xlabel="energy for a picture, mJ", ylabel="AP50:95 (%)")
        axes.grid(alpha=0.3)
    return path


def plot_operations_by_layer(report: EnergyReport, path: Path) -> Path:
    """Operations (millions) of each layer: the ANN's MACs, and the SOPs of the spiking network, step on step."""
    networks = len(report.layers)
    with new_figure(path, max(networks, 1), width=max(8, 7 * networks), height=5.5) as drawn:
        for axes, (name, layers) in zip(np.atleast_1d(drawn), report.layers.items(), strict=False):
            places, below = np.arange(len(layers)), np.zeros(len(layers))
            axes.bar(places - 0.2, [x.macs / 1e6 for x in layers], 0.38, color="0.75", label="MACs of the ANN")
            axes.bar(places + 0.2, [x.constant_macs / 1e6 for x in layers], 0.38, color="0.4", label="MACs of the SNN")
            sops = np.array([x.sops for x in layers]).T / 1e6
            for step, (row, shade) in enumerate(zip(sops, np.linspace(0.25, 1.0, max(len(sops), 1)), strict=True), 1):
                label = f"SOPs, step {step}" if step in (1, len(sops)) else None
                axes.bar(places + 0.2, row, 0.38, below, color=OKABE_ITO[1], alpha=shade, label=label)
                below = below + row
            axes.set(title=name, ylabel="operations for a picture, millions")
            name_layers(axes, [layer.layer for layer in layers])
    return path

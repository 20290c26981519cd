"""Energy as images: energy by time step, AP against energy, and what each layer does in each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from spikedet.costs.report import EnergyReport, EnergyRow, LayerCost
from spikedet.costs.sparsity_curve import sparsity_curves
from spikedet.visualization.figure import MARKERS, colour_of, draw_wanted, name_layers, new_figure

SHADES = 8
"""Most groups of time steps that a bar is divided into."""


def plot_energy(report: EnergyReport, folder: Path) -> list[Path]:
    """Every image of a report, PNGs in a folder; returns their paths.

    There is one by layer if something spikes, and one by sparsity if networks differ in it; those that an earlier
    report has left there are removed else.
    """
    plots = [
        ("energy", partial(plot_by_step, report), True),
        ("energy_by_layer", partial(plot_by_layer, report), bool(report.networks)),
        ("energy_sparsity", partial(plot_sparsity, report), bool(sparsity_curves(report.rows))),
    ]
    return draw_wanted(plots, folder)


def plot_by_step(report: EnergyReport, path: Path) -> Path:
    """Left energy (mJ an image) against t, ANNs as horizontals; right AP50:95 against energy, where AP is known."""
    from matplotlib.ticker import LogLocator

    drawn = lines(report.rows)
    with new_figure(path, 2, width=13, height=5 + 0.2 * len(drawn), legend="") as (left, right):
        styles = Counter[tuple[str, str]]()
        for label, rows in drawn.items():
            colour, constants = colour_of(label), rows[0].constants
            marker = MARKERS[styles[colour, constants] % len(MARKERS)]
            styles[colour, constants] += 1
            dashed = ":" if constants != report.rows[0].constants else "-"
            joules = [row.joules * 1e3 for row in rows]
            if rows[0].t is None:
                left.axhline(joules[0], linestyle="--", linewidth=1.2, color=colour)
            else:
                deviations = [row.spent.joules_std * 1e3 for row in rows if row.spent]
                left.errorbar([row.t for row in rows], joules, deviations, marker=marker, ls=dashed, color=colour)
            known = [row for row in rows if row.AP is not None]
            _plot_ap(right, known, {"marker": marker, "ls": dashed, "color": colour, "label": label})
        left.set(xlabel="t, time steps", ylabel="energy for an image, mJ", yscale="log")
        right.set(xlabel="energy for an image, mJ", ylabel="AP50:95 (%)", xscale="log")
        for axis in (left.yaxis, right.xaxis):
            axis.set_minor_locator(LogLocator(subs=(2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
        if not any(row.AP is not None for row in report.rows):
            right.text(0.5, 0.5, "AP is not known", transform=right.transAxes, ha="center")
        right.figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return path


def lines(rows: Sequence[EnergyRow]) -> dict[str, list[EnergyRow]]:
    """Rows that one line goes through, by its label, by rising t; a network that is read early has its own line."""
    several = len({row.subject for row in rows}) > 1
    early = {(row.network, row.T) for row in rows if row.t != row.T}
    found: dict[str, list[EnergyRow]] = {}
    for row in rows:
        parts = [row.network, *([f"T = {row.T}"] if row.T and (row.network, row.T) in early else []), row.constants]
        parts += [row.subject] if several else []
        found.setdefault(", ".join(parts), []).append(row)
    return {label: sorted(line, key=lambda row: row.t or 0) for label, line in found.items()}


def _plot_ap(axes: Any, rows: Sequence[EnergyRow], how: dict[str, Any]) -> None:
    """One line of AP against energy; without rows it is in the legend alone."""
    joules, aps = [row.joules * 1e3 for row in rows], [row.AP for row in rows]
    axes.plot(joules, aps, **how)
    for row, x, y in zip(rows, joules, aps, strict=True):
        if row.t is not None:
            axes.annotate(f"t = {row.t}", (x, y), fontsize="x-small", xytext=(3, 3), textcoords="offset points")


def plot_sparsity(report: EnergyReport, path: Path) -> Path:
    """AP50:95 against SOPs (billions an image), a line through networks that differ in their penalty on firing."""
    with new_figure(path) as axes:
        for (name, line), marker in zip(sparsity_curves(report.rows).items(), cycle(MARKERS)):
            known = [(row, spent.sops / 1e9) for row, spent in line if row.AP is not None]
            sops, aps = [x for _, x in known], [row.AP for row, _ in known]
            axes.plot(sops, aps, marker=marker, color=colour_of(name), label=name)
            for row, x in known:
                said = row.sparsity or "no penalty"
                axes.annotate(said, (x, row.AP), fontsize="x-small", xytext=(3, 3), textcoords="offset points")
        axes.set(xlabel="synaptic operations for an image, 10^9", ylabel="AP50:95 (%)")
    return path


def plot_by_layer(report: EnergyReport, path: Path) -> Path:
    """Operations (millions) of each layer, a panel for each spiking network: MACs of the ANN, MACs and SOPs of it."""
    count = len(report.networks)
    with new_figure(path, rows=count, width=10, height=4.5 * count) as panels:
        for axes, network in zip(np.atleast_1d(panels), report.networks, strict=True):
            _plot_layers(axes, network.layers)
            axes.set(title=network.network, ylabel="operations for an image, millions")
    return path


def _plot_layers(axes: Any, layers: Sequence[LayerCost]) -> None:
    places = np.arange(len(layers))
    below = np.array([(layer.image_macs + layer.analog_macs * len(layer.sops)) / 1e6 for layer in layers])
    dense = "MACs on the image" + (", of analog currents" if any(layer.analog_macs for layer in layers) else "")
    axes.bar(places - 0.2, [layer.macs / 1e6 for layer in layers], 0.38, color="0.75", label="MACs of the ANN")
    axes.bar(places + 0.2, below, 0.38, color="0.4", label=dense)
    sops = np.array([layer.sops for layer in layers]).T / 1e6
    groups = np.array_split(np.arange(len(sops)), min(len(sops), SHADES))
    for group, shade in zip(groups, np.linspace(0.3, 1.0, len(groups)), strict=True):
        first, last = group[0] + 1, group[-1] + 1
        label = f"SOPs, step {first}" if first == last else f"SOPs, steps {first} to {last}"
        height = sops[group].sum(0)
        axes.bar(places + 0.2, height, 0.38, below, color=colour_of("SNN"), alpha=shade, label=label)
        below = below + height
    name_layers(axes, [layer.layer for layer in layers])

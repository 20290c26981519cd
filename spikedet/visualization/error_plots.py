"""The error of a converted network by layer, as images: counterparts of the paper's figures 4 and 5."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np

from spikedet.diagnosis.records import SNN, Explanation
from spikedet.diagnosis.sums import PER_THETA
from spikedet.visualization.figure import (
    MARKERS,
    OKABE_ITO,
    colour_of,
    draw_wanted,
    label_ends,
    name_layers,
    new_figure,
)

LABELS = {
    "clipping": "CE",
    "quantization": "QE",
    "propagated_qc": "propagated, QC-ANN",
    "calibration": "calibrated weights",
    "propagated_rpe": "propagated, RPE",
    "under_firing": "RPE, under-firing",
    "over_firing": "RPE, over-firing",
}


def plot_explanation(found: Explanation, folder: Path) -> list[Path]:
    """Every image that there is something for, as ``explain-*.png`` in a folder.

    An image that an earlier explanation has left there and that this one has nothing for is removed.

    Returns:
        Their paths, in the order in which to read them.
    """
    evaluated = any(point.AP is not None for point in found.chain)
    plots = [
        ("explain-1-ap", partial(plot_chain, found), evaluated),
        ("explain-2-ranking", partial(plot_ranking, found), found.ranking is not None),
        ("explain-3-split", partial(plot_split, found), True),
        ("explain-4-residual", partial(plot_residual, found), bool(found.spiking)),
        ("explain-5-cosine", partial(plot_cosine, found), True),
        ("explain-6-theta", partial(plot_thetas, found), bool(found.spiking)),
    ]
    return draw_wanted(plots, folder)


def plot_split(found: Explanation, path: Path) -> Path:
    """Mean squares of the terms, in % of the signal's, step on step, and the whole error with its cross terms."""
    places, below = np.arange(len(found.layers)), np.zeros(len(found.layers))
    scale = np.array([100 / layer.last.signal if layer.last.signal else 0.0 for layer in found.layers])
    with new_figure(path, width=10) as axes:
        for (term, label), colour in zip(LABELS.items(), cycle(OKABE_ITO)):
            heights = scale * [layer.last.mean_squares[term] for layer in found.layers]
            axes.bar(places, heights, 0.7, below, color=colour, label=label)
            below = below + heights
        whole = scale * [layer.last.whole for layer in found.layers]
        axes.plot(places, whole, "_", color="black", markersize=16, label="whole, with cross terms")
        axes.set(ylabel="mean square, % of the source's", title=f"Error at t = {found.T}")
        name_layers(axes, [layer.layer for layer in found.layers])
    return path


def plot_residual(found: Explanation, path: Path) -> Path:
    """Share of neurons with RPE in each layer with its range over images, and the spikes they miss (figure 4)."""
    residuals = [layer.residual for layer in found.spiking if layer.residual is not None]
    places = np.arange(len(residuals))
    fewer, more = (100 * np.array([getattr(r, name) for r in residuals]) for name in ("fewer", "more"))
    low, high = 100 * np.array([r.by_image for r in residuals]).T
    with new_figure(path, 2, width=13) as (shares, sizes):
        shares.bar(places, fewer, 0.7, color=OKABE_ITO[0], label="too few spikes")
        shares.bar(places, more, 0.7, fewer, color=OKABE_ITO[1], label="too many spikes")
        middle = (low + high) / 2
        shares.errorbar(places, middle, (high - low) / 2, fmt="none", color="black", capsize=2, label="over images")
        shares.set(ylabel="neurons with RPE, %", title="Residual potential representation error")
        for name, label, marker in (("spikes", "spikes", "o"), ("deviation", "potential, theta", "s")):
            for kind, fill in (("mean", "full"), ("max", "none")):
                values = [getattr(r, f"{name}_{kind}") for r in residuals]
                sizes.plot(
                    places,
                    values,
                    marker,
                    fillstyle=fill,
                    label=f"{label}, {kind}",
                    color=OKABE_ITO[2 + (marker == "s")],
                )
        sizes.set_yscale("symlog", linthresh=1)
        sizes.yaxis.set_major_formatter("{x:g}")
        sizes.set(title="How much: spikes off, and potential outside the range")
        for axes in (shares, sizes):
            name_layers(axes, [layer.layer for layer in found.spiking])
    return path


def plot_cosine(found: Explanation, path: Path) -> Path:
    """Similarity of rates and QC activations by layer, a line for each t (figure 5b)."""
    steps = [step.t for step in found.layers[0].steps]
    with new_figure(path, width=10) as axes:
        for index, (t, marker, colour) in enumerate(zip(steps, cycle(MARKERS), cycle(OKABE_ITO))):
            values = [layer.steps[index].cosine for layer in found.layers]
            axes.plot(range(len(values)), values, marker=marker, markersize=4, color=colour, label=f"t = {t}")
        axes.set(ylabel="cosine similarity", title="QC-ANN's activations and SNN's rates by time step")
        name_layers(axes, [layer.layer for layer in found.layers])
    return path


def plot_thetas(found: Explanation, path: Path) -> Path:
    """Distribution of positive pre-activations in units of theta by layer; above 1 they are clipped."""
    uses = [layer.theta for layer in found.spiking if layer.theta is not None]
    counts = np.array([use.histogram for use in uses], dtype=float).T
    with new_figure(path, width=10) as axes:
        density = np.log10(np.maximum(counts / np.maximum(counts.sum(0), 1), 1e-6))
        edges = np.arange(len(counts) + 1) / PER_THETA
        drawn = axes.pcolormesh(np.arange(len(uses) + 1) - 0.5, edges, density, cmap="Blues", vmin=-6)
        axes.figure.colorbar(drawn, ax=axes, label="share of positive pre-activations, log10")
        for percent, marker, colour in zip(uses[0].quantiles, MARKERS, OKABE_ITO[1:], strict=False):
            axes.plot([use.quantiles[percent] for use in uses], marker, color=colour, label=f"{percent} %")
        axes.axhline(1, color="black", linewidth=1, label="theta")
        axes.set(ylabel="pre-activation / theta", title="Positive pre-activations of the QC-ANN against theta")
        name_layers(axes, [layer.layer for layer in found.spiking])
    return path


def plot_ranking(found: Explanation, path: Path) -> Path:
    """AP50:95 with one layer's residual error alone and with all but one's, in execution order."""
    assert found.ranking is not None
    ranks = {rank.layer: rank for rank in found.ranking.layers}
    names = [layer.layer for layer in found.layers if layer.layer in ranks]
    names += [name for name in ranks if name not in names]
    with new_figure(path, width=10) as axes:
        axes.axhline(found.ranking.none, linestyle="--", color=OKABE_ITO[0], label="no residual error")
        axes.axhline(found.ranking.all, linestyle="--", color=OKABE_ITO[1], label="all (the SNN)")
        for kind, label, marker, colour in (
            ("only", "its error alone", "o", OKABE_ITO[0]),
            ("all_but", "all but its error", "s", OKABE_ITO[1]),
        ):
            axes.plot([getattr(ranks[name], kind) for name in names], marker, color=colour, label=label)
        axes.set(ylabel="AP50:95 (%)", title=f"What each layer's residual error costs, {found.ranking.images} images")
        name_layers(axes, names)
    return path


def plot_chain(found: Explanation, path: Path) -> Path:
    """AP50:95 of the ANNs (dashed) and of the SNN by t (figure 5c)."""
    steps = [(p.t, p.AP) for p in found.chain if p.t is not None and p.network == SNN and p.AP is not None]
    levels = [p for p in found.chain if p.network != SNN and p.AP is not None]
    with new_figure(path) as axes:
        drawn = [(p.network, axes.axhline(p.AP, linestyle="--", color=colour_of(p.network))) for p in levels]
        if steps:
            drawn += [(SNN, axes.plot(*zip(*steps, strict=True), marker="o", color=colour_of(SNN))[0])]
        axes.set(xlabel="t, time steps", ylabel="AP50:95 (%)", title="What the chain costs")
        label_ends(axes, drawn)
    return path

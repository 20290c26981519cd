"""An explanation as Markdown: advice first, then the tables that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spikedet.common.counts import counted
from spikedet.common.markdown import decimal, plain_text, table
from spikedet.diagnosis.records import ApPoint, Explanation, LayerErrors, Ranking, StepErrors
from spikedet.diagnosis.split import TERMS

Line = Sequence[str]

SPLIT = (
    "Mean squares in % of the mean square of the source's activation. CE + QE + propagated + calibration + RPE is the "
    "whole error, neuron by neuron; the cross terms are the rest of its mean square. In brackets: the part of the "
    "whole error's mean square that goes with the term, mean(term * error), in %; these add up to 100."
)
RESIDUAL = (
    "Neurons, in %: with fewer or more spikes than g says at their mean input (RPE); smallest and largest share over "
    "images; with a residual potential below 0 or at theta and above, silent and saturated ones included. Deviation: "
    "how far it lies outside what the neuron can represent, in theta. Spikes: too few or too many, of neurons with RPE."
)
STEPS = "Mean square of RPE, in % of the mean square of the source's activation: under-firing + over-firing."
COSINE = (
    "Cosine similarity of the SNN's rates and the QC-ANN's activations (logits in output layers), by steps read out."
)
THETA = (
    "Positive pre-activations of the QC-ANN in units of theta, by percent (4 represents all above); neurons, in %, "
    "above theta, that fire in every step or never, beside those whose QC activation is theta or 0; channels without "
    "spikes."
)
RANK = (
    "The residual error of one layer alone: how far it moves the output layers (mean square, in % of what all together "
    "do), and AP50:95 with it alone and with all but it; on few images a point of AP is noise. The network with none "
    "is the QC-ANN with the SNN's weights, with all it is the SNN."
)


def explanation_markdown(found: Explanation) -> str:
    """The whole text."""
    made = f"{found.stage}, neuron {found.neuron}, T = {found.T}" + (f", delay {found.delay}" if found.delay else "")
    where = f"{found.data} {found.split} ({counted(found.images, 'image')})"
    parts = [
        "# Error by layer",
        plain_text(f"{found.model} ({made}) on {where}, against {found.meta.get('reference', 'its source')}."),
    ]
    parts += ["## What to do", "\n".join(f"- {plain_text(sentence)}." for sentence in found.advice)]
    parts += ["## What it costs", chain_table(found.chain)]
    if found.ranking is not None:
        parts += [f"## Layers by cost, {counted(found.ranking.images, 'image')}", RANK, ranking_table(found.ranking)]
    parts += [f"## Error at t = {found.T}", SPLIT, error_table(found.layers)]
    parts += ["## Residual potentials", RESIDUAL, residual_table(found.spiking)]
    parts += ["## Residual error by step", STEPS, step_table(found.spiking, residual_cell)]
    parts += ["## Similarity by step", COSINE, step_table(found.layers, cosine_cell)]
    parts += ["## Thresholds", THETA, theta_table(found.spiking)]
    return "\n\n".join(parts) + "\n"


def named_table(head: Line, lines: Sequence[Line]) -> str:
    """A table whose lines begin with a name."""
    return table(head, ([plain_text(line[0]), *line[1:]] for line in lines))


def chain_table(chain: Sequence[ApPoint]) -> str:
    lines = [[p.network, "-" if p.t is None else str(p.t), decimal(p.AP), decimal(p.AP50)] for p in chain]
    return named_table(("network", "t", "AP50:95", "AP50"), lines)


def ranking_table(ranking: Ranking) -> str:
    lines = [["none", "0.0", decimal(ranking.none), "-"]]
    lines += [[r.layer, _percent(r.moved), decimal(r.only), decimal(r.all_but)] for r in ranking.layers]
    head = ("residual error of", "moves output layers, %", "AP50:95, it alone", "AP50:95, all but it")
    return named_table(head, [*lines, ["all", "100.0", decimal(ranking.all), "-"]])


def error_table(layers: Sequence[LayerErrors]) -> str:
    """One line for each layer, at T."""
    terms = ("CE", "QE", "propagated, QC-ANN", "calibration", "propagated, RPE", "RPE, under", "RPE, over")
    lines = []
    for layer in layers:
        last = layer.last
        scale = 100 / last.signal if last.signal else 0.0
        parts = [f"{_number(scale * last.mean_squares[t])} ({100 * last.shares[t]:.0f})" for t in TERMS]
        lines.append([layer.layer, *parts, _number(scale * last.cross), _number(scale * last.whole)])
    return named_table(("layer", *terms, "cross", "whole"), lines)


def residual_table(layers: Sequence[LayerErrors]) -> str:
    head = ("layer", "fewer", "more", "by image", "u[T] < 0", "u[T] >= theta", "deviation, mean", "max")
    lines = []
    for layer in layers:
        if (r := layer.residual) is not None:
            low, high = r.by_image
            shares = [_percent(r.fewer), _percent(r.more), f"{_percent(low)} to {_percent(high)}"]
            shares += [_percent(r.negative), _percent(r.overflow)]
            sizes = [f"{r.deviation_mean:.2f}", f"{r.deviation_max:.1f}", f"{r.spikes_mean:.2f}", f"{r.spikes_max:.0f}"]
            lines.append([layer.layer, *shares, *sizes])
    return named_table((*head, "spikes, mean", "max"), lines)


def step_table(layers: Sequence[LayerErrors], cell: Callable[[StepErrors], str]) -> str:
    """One column for each step read out."""
    head = [f"t = {step.t}" for step in layers[0].steps] if layers else []
    return named_table(("layer", *head), [[layer.layer, *map(cell, layer.steps)] for layer in layers])


def residual_cell(step: StepErrors) -> str:
    return f"{100 * step.relative('under_firing'):.2f} + {100 * step.relative('over_firing'):.2f}"


def cosine_cell(step: StepErrors) -> str:
    return f"{step.cosine:.4f}"


def theta_table(layers: Sequence[LayerErrors]) -> str:
    head = ("layer", "theta", "50 %", "90 %", "99 %", "99.9 %", "above theta", "every step", "QC", "never", "QC")
    lines = []
    for layer in layers:
        if (u := layer.theta) is not None:
            low, mean, high = u.theta
            shares = (u.clipped, u.saturated, u.saturated_qc, u.silent, u.silent_qc, u.dead_channels)
            thetas = f"{mean:.3g} [{low:.3g}, {high:.3g}]"
            lines.append([layer.layer, thetas, *(f"{q:.2f}" for q in u.quantiles.values()), *map(_percent, shares)])
    return named_table((*head, "dead"), lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _number(value: float) -> str:
    return f"{value + 0.0:.2f}"

"""What to do about a conversion's errors, in sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from spikedet.common.counts import counted
from spikedet.diagnosis.records import ANNS, QC, SNN, ApPoint, Explanation, LayerErrors

WORDS = {
    "clipping": "clipping",
    "quantization": "quantization",
    "propagated_qc": "what the QC-ANN's earlier layers have quantized and clipped",
    "calibration": "what calibration has changed in the weights",
    "propagated_rpe": "the residual error of earlier layers",
    "under_firing": "under-firing",
    "over_firing": "over-firing",
}
RPE = ("under_firing", "over_firing")
WORTH_SAYING = 0.02
"""Residual error below this fraction of a layer's signal (mean squares) is left alone."""
POINTS = 0.5
"""Points of AP50:95 from which a loss is spoken of."""
NAMED = 3
"""Layers that are named in each matter."""
MANY_DEAD = 0.25
MANY_CLIPPED = 0.02


def advise(found: Explanation) -> tuple[str, ...]:
    """Sentences, the most important first; one at least."""
    said = [*_of_the_chain(found), *_of_residuals(found), *_of_ranking(found), *_of_time(found), *_of_thetas(found)]
    return tuple(said) or (
        f"no layer has a residual error above {100 * WORTH_SAYING:g} % of its signal at t = {found.T}: nothing to do",
    )


def chain_losses(chain: tuple[ApPoint, ...]) -> tuple[float | None, float | None]:
    """Points of AP50:95 lost from the better ANN to the QC-ANN, and from there to the SNN at T; None if unknown."""
    last = {point.network: point.AP for point in chain}
    ann = max((point.AP for point in chain if point.network in ANNS and point.AP is not None), default=None)
    qc, snn = last.get(QC), last.get(SNN)
    return (None if ann is None or qc is None else ann - qc, None if qc is None or snn is None else qc - snn)


def _points(lost: float) -> str:
    """``costs 1.5 points``, or ``wins`` them."""
    return f"{'wins' if round(lost, 1) < 0 else 'costs'} {abs(lost):.1f} points"


def _of_the_chain(found: Explanation) -> Iterator[str]:
    to_qc, to_snn = chain_losses(found.chain)
    if to_qc is not None and to_snn is not None and max(to_qc, to_snn) >= POINTS:
        larger = "quantization and clipping" if to_qc > to_snn else "residual error"
        yield (
            f"ANN to QC-ANN {_points(to_qc)} and QC-ANN to SNN {_points(to_snn)} of AP50:95 on these images: "
            f"{larger} is the larger part"
        )
    if to_qc is not None and to_qc >= POINTS:
        more = "a longer one (--epochs), or a larger T" if found.finetuned else "spikedet finetune, or a larger T"
        yield f"against quantization and clipping at T = {found.T} Stage I helps: {more}"


def _of_residuals(found: Explanation) -> Iterator[str]:
    worst = sorted(found.spiking, key=lambda layer: -layer.last.relative(*RPE))
    said: set[str] = set()
    for layer in worst[:NAMED]:
        if layer.last.relative(*RPE) >= WORTH_SAYING:
            remedy = _remedy(found, too_few=_mostly_under(layer))
            yield _residual_sentence(layer) + ("" if remedy in said else f": {remedy}")
            said.add(remedy)
    for layer in sorted(found.layers, key=lambda layer: -layer.last.relative("propagated_rpe"))[:1]:
        own, come = layer.last.relative(*RPE), layer.last.relative("propagated_rpe")
        if come >= max(WORTH_SAYING, own) and worst:
            yield (
                f"layer {layer.layer} inherits more than it adds: the residual errors of earlier layers reach it as "
                f"{100 * come:.1f} % of its signal, its own are {100 * own:.1f} %; begin with {worst[0].layer}"
            )


def _mostly_under(layer: LayerErrors) -> bool:
    return layer.last.mean_squares["under_firing"] >= layer.last.mean_squares["over_firing"]


def _residual_sentence(layer: LayerErrors) -> str:
    last, residual, under = layer.last, layer.residual, _mostly_under(layer)
    assert residual is not None
    way, share, spikes = ("under", residual.fewer, "few") if under else ("over", residual.more, "many")
    part = 100 * last.relative(f"{way}_firing") / last.relative(*RPE)
    return (
        f"layer {layer.layer}: residual error is {100 * last.relative(*RPE):.1f} % of its signal, {part:.0f} % of that "
        f"by {way}-firing ({100 * share:.1f} % of its neurons fire too {spikes} spikes; those with residual error are "
        f"{residual.spikes_mean:.1f} spikes off on average and up to {residual.spikes_max:.0f}){_before(layer)}"
    )


def _before(layer: LayerErrors) -> str:
    """From when on, read out earlier, the residual error is less than twice what it is at T."""
    settled = next(i for i, step in enumerate(layer.steps) if step.relative(*RPE) <= 2 * layer.last.relative(*RPE))
    if not settled:
        return ""
    return f", and at t < {layer.steps[settled].t} more than twice that"


def _remedy(found: Explanation, *, too_few: bool) -> str:
    stage2 = {
        "copied": "run Stage II (spikedet calibrate)",
        "coarse": "run the fine calibration too (spikedet calibrate --fine)",
        "fine": "calibrate all layers together (spikedet joint), or with more --images",
        "joint": "calibrate jointly for more --epochs",
    }[found.stage]
    delay = "a longer --delay" if found.delay else "--delay"
    if too_few:
        return f"{stage2}, which raises u[0] here, or give it time to catch up (a larger T or {delay})"
    taken_back = " or convert with --neuron signed, which takes spikes back," if found.neuron == "if" else ""
    return f"{stage2},{taken_back} or let it wait before it fires ({delay})"


def _of_ranking(found: Explanation) -> Iterator[str]:
    ranking = found.ranking
    if ranking is None or not ranking.layers:
        return
    worst = ranking.layers[0]
    everything, alone, others = (ap - ranking.none + 0.0 for ap in (ranking.all, worst.only, worst.all_but))
    if worst.moved > 0:
        yield (
            f"the residual error of layer {worst.layer} moves the outputs most, {100 * worst.moved:.0f} % of what all "
            f"together do; on {counted(ranking.images, 'image')} AP50:95 changes by {alone:+.1f} points with it alone, "
            f"by {others:+.1f} with all others and by {everything:+.1f} with all"
        )


def _of_time(found: Explanation) -> Iterator[str]:
    """Layers whose rates agree with the QC-ANN late only."""
    for layer in sorted(found.spiking, key=lambda layer: layer.steps[0].cosine)[:1]:
        good = next((step for step in layer.steps if step.cosine >= 0.95), None)
        if len(layer.steps) < 2 or good is layer.steps[0]:
            continue
        first, last = layer.steps[0], layer.last
        term = max(first.shares, key=lambda name: first.shares[name])
        until = (
            f"reaches {good.cosine:.3f} at t = {good.t}"
            if good is not None
            else f"is {last.cosine:.3f} at t = {last.t}"
        )
        yield (
            f"read out early, layer {layer.layer} is the furthest from the QC-ANN: cosine {first.cosine:.3f} at "
            f"t = {first.t}, where {100 * first.shares[term]:.0f} % of its error is {WORDS[term]}; it {until}"
        )


def _of_thetas(found: Explanation) -> Iterator[str]:
    uses = [(layer.layer, layer.theta) for layer in found.spiking if layer.theta is not None]
    dead = sorted((x for x in uses if x[1].dead_channels >= MANY_DEAD), key=lambda x: -x[1].dead_channels)
    if dead:
        named = ", ".join(f"{name} ({100 * use.dead_channels:.0f} %)" for name, use in dead[:NAMED])
        yield (
            f"channels that never fire on {counted(found.images, 'image')}: {named}; channels the source does not use, "
            "or thetas too high for them (finetune with --theta-images sets them anew)"
        )
    over = [(name, use) for name, use in uses if use.saturated - use.saturated_qc >= MANY_CLIPPED]
    for name, use in over[:1]:
        yield (
            f"layer {name}: {100 * use.saturated:.1f} % of its neurons fire in every step, and "
            f"{100 * use.saturated_qc:.1f} % of the QC-ANN's are at theta; its input is too large, look at the layers "
            "before it"
        )

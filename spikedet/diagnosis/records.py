"""What ``spikedet explain`` found, as plain records; ``explain.json`` is one ``Explanation``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ANN, CLIP_ANN, QC, SNN = "ANN", "clip ANN, Stage I", "QC-ANN", "SNN"
"""Names of the networks of a chain."""
ANNS = (ANN, CLIP_ANN)


@dataclass(frozen=True, kw_only=True)
class StepErrors:
    """The error of one layer, read out at t, in means over images and neurons.

    Attributes:
        t: steps read out.
        signal: mean square of the source ANN's activation sigma(x), activation units squared, as everything below.
        whole: mean square of the whole error r - sigma(x).
        mean_squares: of each term of ``TERMS``.
        cross: ``whole`` minus the sum of ``mean_squares``: what the terms add to or take from each other.
        products: mean products of the terms with each other, ``[7][7]``; the diagonal is ``mean_squares``.
        shares: of ``whole``, mean(term * error) / mean(error^2); they add up to 1, one that cancels others is negative.
        biases: signed mean of each term, activation units.
        from_qc: mean square of the SNN's error against the QC-ANN, r - g(x_qc).
        cosine: similarity of the SNN's rates and the QC-ANN's activations, mean over images.
    """

    t: int
    signal: float
    whole: float
    mean_squares: dict[str, float]
    cross: float
    products: list[list[float]]
    shares: dict[str, float]
    biases: dict[str, float]
    from_qc: float
    cosine: float

    def relative(self, *terms: str) -> float:
        """Mean squares of terms, added, as a fraction of the signal's."""
        return sum(self.mean_squares[term] for term in terms) / self.signal if self.signal else 0.0


@dataclass(frozen=True, kw_only=True)
class ResidualErrors:
    """Residual potentials of one layer after its window, and the spikes they represent (the paper's figure 4).

    Attributes:
        negative, overflow: share of neurons with u[T] < 0 and with u[T] >= theta, silent and saturated ones included.
        fewer, more: share of neurons with fewer and with more spikes than g at their mean input.
        by_image: smallest and largest share of neurons with either, over images.
        deviation_mean, deviation_max: distance from the range that a neuron can represent, units of theta, of those
            outside that a spike more or less would have helped.
        spikes_mean, spikes_max: spikes too few or too many, of the neurons that have such.
    """

    negative: float
    overflow: float
    fewer: float
    more: float
    by_image: tuple[float, float]
    deviation_mean: float
    deviation_max: float
    spikes_mean: float
    spikes_max: float


@dataclass(frozen=True, kw_only=True)
class ThetaUse:
    """A layer's thresholds against what they have to hold.

    Attributes:
        theta: smallest, mean and largest threshold, activation units.
        quantiles: of the QC-ANN's positive pre-activations, units of theta, by percent ("50", "90", "99", "99.9").
        positive: share of pre-activations above 0.
        clipped: share of pre-activations above theta.
        histogram: positive pre-activations in 64 classes of theta / 16; the last holds all above.
        saturated, saturated_qc: share of neurons that fire in every step; whose QC activation is theta.
        silent, silent_qc: share of neurons with a rate, with a QC activation of 0.
        dead_channels: share of channels without a spike on any image.
    """

    theta: tuple[float, float, float]
    quantiles: dict[str, float]
    positive: float
    clipped: float
    histogram: list[int]
    saturated: float
    saturated_qc: float
    silent: float
    silent_qc: float
    dead_channels: float


@dataclass(frozen=True, kw_only=True)
class LayerErrors:
    """One layer; ``residual`` and ``theta`` are those of a spiking layer, None for a read-out.

    Attributes:
        layer: its name.
        steps: by rising t; the last is T.
    """

    layer: str
    steps: tuple[StepErrors, ...]
    residual: ResidualErrors | None = None
    theta: ThetaUse | None = None

    @property
    def last(self) -> StepErrors:
        """At T."""
        return self.steps[-1]


@dataclass(frozen=True, kw_only=True)
class ApPoint:
    """AP50:95 and AP50 in percent of one network of the chain, None where there is nothing to find; t of the SNN."""

    network: str
    t: int | None
    AP: float | None
    AP50: float | None


@dataclass(frozen=True, kw_only=True)
class LayerRank:
    """What the residual error of one layer does.

    Attributes:
        layer: its name.
        moved: mean square by which it alone moves the output layers, as a share of that by all together.
        only, all_but: AP50:95 in percent with it alone, and with that of all other layers.
    """

    layer: str
    moved: float
    only: float
    all_but: float


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Layers by what their residual error costs.

    Attributes:
        images: images evaluated.
        none, all: AP50:95 without any residual error (the SNN's weights as a QC-ANN), and with all of it (the SNN).
        layers: by falling ``moved``, which few images tell better than an AP.
    """

    images: int
    none: float
    all: float
    layers: tuple[LayerRank, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything.

    Attributes:
        model, stage, neuron, T, delay: of the SNN.
        finetuned: whether Stage I has trained its weights.
        data, split, images: the images; ``images`` is their number.
        layers: in execution order, output layers too.
        chain: AP of the source ANN, the QC-ANN and the SNN by t, on the same images.
        ranking: None where it was not asked for.
        advice: sentences, the most important first.
        meta: settings, checkpoints and versions.
    """

    model: str
    stage: str
    neuron: str
    T: int
    delay: int
    finetuned: bool
    data: str
    split: str
    images: int
    layers: tuple[LayerErrors, ...]
    chain: tuple[ApPoint, ...]
    ranking: Ranking | None = None
    advice: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def spiking(self) -> tuple[LayerErrors, ...]:
        """The layers with neurons."""
        return tuple(layer for layer in self.layers if layer.residual is not None)

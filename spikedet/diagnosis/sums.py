"""Sums over images, one batch after another, so that memory does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.diagnosis.records import LayerErrors, ResidualErrors, StepErrors, ThetaUse
from spikedet.diagnosis.residual import residual_deviation
from spikedet.diagnosis.split import TERMS, cosine
from spikedet.quantization.activation import per_channel

QUANTILES = (50.0, 90.0, 99.0, 99.9)
CLASSES = 64
PER_THETA = 16
"""Classes of the histogram that make a theta."""


class StepSums:
    """Of one layer at one t."""

    def __init__(self) -> None:
        self.products = torch.zeros(len(TERMS), len(TERMS), dtype=torch.float64)
        self.biases = torch.zeros(len(TERMS), dtype=torch.float64)
        self.signal = self.from_qc = self.cosines = 0.0
        self.neurons = self.images = 0

    def add(self, terms: Tensor, source: Tensor, qc: Tensor, snn: Tensor) -> None:
        """One batch.

        Args:
            terms: ``[7, N, C, H, W]`` as from ``split_error``.
            source, qc, snn: outputs of the three networks, ``[N, C, H, W]``; the source's is sigma(x).
        """
        for image in range(len(source)):  # one at a time: float64 copies stay small
            flat = terms[:, image].flatten(1).double()
            self.products += (flat @ flat.T).cpu()
            self.biases += flat.sum(1).cpu()
            self.signal += float(source[image].double().square().sum())
            self.from_qc += float((snn[image] - qc[image]).double().square().sum())
        self.cosines += float(cosine(snn, qc).sum())
        self.neurons += source.numel()
        self.images += len(source)

    def result(self, t: int) -> StepErrors:
        """Means over what was added."""
        count = max(self.neurons, 1)
        products = self.products / count
        whole, squares = float(products.sum()), products.diagonal()
        shares = products.sum(1) / whole if whole > 0 else torch.zeros(len(TERMS))
        return StepErrors(
            t=t,
            signal=self.signal / count,
            whole=whole,
            mean_squares=dict(zip(TERMS, squares.tolist(), strict=True)),
            cross=whole - float(squares.sum()),
            products=products.tolist(),
            shares=dict(zip(TERMS, shares.tolist(), strict=True)),
            biases=dict(zip(TERMS, (self.biases / count).tolist(), strict=True)),
            from_qc=self.from_qc / count,
            cosine=self.cosines / max(self.images, 1),
        )


class Shares:
    """The shares of neurons of which something is true, by name."""

    def __init__(self, *names: str) -> None:
        self.neurons, self.counts = 0, dict.fromkeys(names, 0)

    def add(self, *maps: Tensor) -> None:
        """Whether it is true of each neuron of one batch, by name, in order."""
        self.neurons += maps[0].numel()
        self.counts = {name: n + int(found.sum()) for (name, n), found in zip(self.counts.items(), maps, strict=True)}

    def result(self) -> dict[str, float]:
        """The shares in what was added."""
        return {name: count / max(self.neurons, 1) for name, count in self.counts.items()}


class ResidualSums:
    """Of one layer's residual potentials, after its window."""

    def __init__(self) -> None:
        self.shares, self.outside, self.off = Shares("negative", "overflow", "fewer", "more"), 0, 0
        self.deviation = self.deviation_max = self.spikes = self.spikes_max = 0.0
        self.by_image: tuple[float, float] = (1.0, 0.0)

    def add(
        self, potential: Tensor, spikes: Tensor, expected: Tensor, theta: Tensor, T: int, lower: Tensor | None
    ) -> None:
        """One batch: u[T], spikes, and the whole number of spikes that g expects, each ``[N, C, H, W]``."""
        limit, missing = per_channel(theta, potential.ndim), expected - spikes
        self.shares.add(potential < 0, potential >= limit, missing > 0, missing < 0)
        shares = (missing != 0).flatten(1).double().mean(1)
        self.by_image = (min(self.by_image[0], float(shares.min())), max(self.by_image[1], float(shares.max())))
        deviation = residual_deviation(potential, spikes, theta, T, lower).abs()
        self.outside += int((deviation > 0).sum())
        self.deviation += float(deviation.sum(dtype=torch.float64))
        self.deviation_max = max(self.deviation_max, float(deviation.max()))
        self.off += int((missing != 0).sum())
        self.spikes += float(missing.abs().sum(dtype=torch.float64))
        self.spikes_max = max(self.spikes_max, float(missing.abs().max()))

    def result(self) -> ResidualErrors:
        """Shares and means of what was added."""
        return ResidualErrors(
            **self.shares.result(),
            by_image=self.by_image,
            deviation_mean=self.deviation / max(self.outside, 1),
            deviation_max=self.deviation_max,
            spikes_mean=self.spikes / max(self.off, 1),
            spikes_max=self.spikes_max,
        )


class ThetaSums:
    """Of one layer's thresholds ``[C]`` against pre-activations and rates."""

    def __init__(self, theta: Tensor) -> None:
        self.theta = theta
        self.histogram = torch.zeros(CLASSES, dtype=torch.int64)
        self.shares = Shares("positive", "clipped", "saturated", "silent", "saturated_qc", "silent_qc")
        self.alive = torch.zeros(len(theta), dtype=torch.bool)

    def add(self, x_qc: Tensor, spikes: Tensor, expected_qc: Tensor, T: int) -> None:
        """One batch: pre-activations of the QC-ANN, spikes, and spikes of the QC activation, each ``[N, C, H, W]``."""
        scaled = x_qc / per_channel(self.theta.to(x_qc.device), x_qc.ndim)
        positive = scaled[scaled > 0]
        classes = (positive * PER_THETA).long().clamp_max(CLASSES - 1)
        self.histogram += torch.bincount(classes, minlength=CLASSES).cpu()
        self.shares.add(scaled > 0, scaled > 1, spikes >= T, spikes == 0, expected_qc >= T, expected_qc == 0)
        self.alive |= (spikes != 0).any(3).any(2).any(0).cpu()

    def result(self) -> ThetaUse:
        """Shares of what was added."""
        theta = self.theta
        return ThetaUse(
            **self.shares.result(),
            theta=(float(theta.min()), float(theta.mean()), float(theta.max())),
            quantiles={f"{percent:g}": histogram_quantile(self.histogram, percent) for percent in QUANTILES},
            histogram=self.histogram.tolist(),
            dead_channels=1 - int(self.alive.sum()) / len(theta),
        )


def histogram_quantile(histogram: Tensor, percent: float) -> float:
    """The upper end, in units of theta, of the class that holds this quantile; 0 of nothing. All beyond is 4."""
    total = int(histogram.sum())
    if not total:
        return 0.0
    place = int(torch.searchsorted(histogram.cumsum(0), torch.tensor(total * percent / 100)))
    return (min(place, CLASSES - 1) + 1) / PER_THETA


class LayerSums:
    """Of one layer; without ``theta`` a read-out."""

    def __init__(self, layer: str, theta: Tensor | None = None) -> None:
        self.layer = layer
        self.steps: dict[int, StepSums] = {}
        self.residual = None if theta is None else ResidualSums()
        self.theta = None if theta is None else ThetaSums(theta)

    def step(self, t: int) -> StepSums:
        """The sums of a read-out at t."""
        return self.steps.setdefault(t, StepSums())

    def result(self) -> LayerErrors:
        """Everything as records."""
        return LayerErrors(
            layer=self.layer,
            steps=tuple(sums.result(t) for t, sums in sorted(self.steps.items())),
            residual=self.residual.result() if self.residual else None,
            theta=self.theta.result() if self.theta else None,
        )

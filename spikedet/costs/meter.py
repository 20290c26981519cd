"""Adds up what a spiking network does on batches of images: by layer and step, and in joules by read-out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from spikedet.costs.moments import Moments
from spikedet.costs.operations import LayerSynapses, OperationCounter
from spikedet.costs.pricing import Pricing, Totals


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one layer does for an image, mean and standard deviation over images.

    Attributes:
        layer: name of a spiking layer or a read-out.
        neurons: of a spiking layer, 0 for a read-out.
        macs: of the ANN's convolution, zeros of the padding included.
        macs_inside: without those zeros.
        image_macs: of ``macs``, those on the image, which the spiking network computes as well.
        analog_macs: of ``macs``, those of and on analog currents, which it computes in every time step.
        sops, sops_std: in each time step, of the spikes that reach the layer, and their deviation over images.
        spikes, spikes_std: that its neurons send in each time step.
        total_sops_std: deviation of the SOPs of all time steps together.
    """

    layer: str
    neurons: int
    macs: int
    macs_inside: int
    image_macs: int
    analog_macs: int = 0
    sops: tuple[float, ...]
    sops_std: tuple[float, ...]
    spikes: tuple[float, ...]
    spikes_std: tuple[float, ...]
    total_sops_std: float


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One read-out under one pricing, mean and standard deviation over images.

    Attributes:
        sops, sops_std: synaptic operations in t steps.
        spikes: in t steps.
        firing_rate: spikes per neuron and step.
        joules, joules_std: by the pricing.
        joules_image_once, joules_image_every_step: mean, with the image convolved once and in each of the t steps.
    """

    sops: float
    sops_std: float
    spikes: float
    firing_rate: float
    joules: float
    joules_std: float
    joules_image_once: float
    joules_image_every_step: float


class EnergyMeter:
    """One network's.

    Args:
        layers: of the network.
        steps: time steps t that are read out.
        pricings: ways to price them.
    """

    def __init__(self, layers: Sequence[LayerSynapses], steps: Sequence[int], pricings: Sequence[Pricing]) -> None:
        self.layers, self.steps, self.pricings = layers, steps, tuple(dict.fromkeys(pricings))
        self.totals = Totals.of(layers)
        self._by_step, self._by_layer = Moments(), Moments()
        self._counts = {t: Moments() for t in steps}
        self._joules = {(t, pricing): Moments() for t in steps for pricing in self.pricings}

    def add(self, counter: OperationCounter) -> None:
        """One batch that the counter has seen."""
        self._by_step.add(torch.stack([counter.sops, counter.spikes]))
        self._by_layer.add(counter.sops.sum(1))
        for t in self.steps:
            sops, spikes = counter.sops[:, :t].sum((0, 1)), counter.spikes[:, :t].sum((0, 1))
            self._counts[t].add(torch.stack([sops, spikes]))
            for pricing in self.pricings:
                self._joules[t, pricing].add(pricing.snn_joules(self.totals, t, sops, spikes))

    def layer_costs(self) -> tuple[LayerCost, ...]:
        """Of every layer with weights, in execution order."""
        means, deviations, totals = self._by_step.mean.tolist(), self._by_step.std.tolist(), self._by_layer.std.tolist()
        return tuple(
            LayerCost(
                layer=layer.layer,
                neurons=layer.neurons,
                macs=layer.macs,
                macs_inside=layer.met,
                image_macs=layer.constant_macs,
                analog_macs=layer.analog_macs,
                sops=tuple(means[0][row]),
                sops_std=tuple(deviations[0][row]),
                spikes=tuple(means[1][row]),
                spikes_std=tuple(deviations[1][row]),
                total_sops_std=totals[row],
            )
            for row, layer in enumerate(self.layers)
        )

    def spent(self, t: int, pricing: Pricing) -> Spent:
        """By one read-out."""
        counts, joules = self._counts[t], self._joules[t, pricing]
        once, every = (
            # Joules are linear in what is counted, so those of the mean are the mean.
            replace(pricing, image_every_step=choice).snn_joules(self.totals, t, *counts.mean).item()
            for choice in (False, True)
        )
        sops, spikes = counts.mean.tolist()
        return Spent(
            sops=sops,
            sops_std=counts.std[0].item(),
            spikes=spikes,
            firing_rate=spikes / max(self.totals.neurons * t, 1),
            joules=joules.mean.item(),
            joules_std=joules.std.item(),
            joules_image_once=once,
            joules_image_every_step=every,
        )

"""Energy of a detector for one picture: operations counted, each priced by a table of constants.

    ANN:  E = MACs mac_pj
    SNN:  E(t) = MACs on the image, once, mac_pj + SOPs of the first t steps ac_pj

(Wang et al., section VI-E, with the input convolution as what it is.) A SOP is one accumulation, counted for every weight
that a spike meets. Additions of biases and comparisons with theta, one for each neuron and step, are in neither.

A model of memory traffic may be added:

    ANN:  access_pj (per_mac MACs + per_output outputs)
    SNN:  access_pj (per_mac MACs on the image + per_sop SOPs + per_neuron_step neurons t + per_spike spikes)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spikedet.evaluation.energy_constants import EnergyConstants
from spikedet.evaluation.synaptic_operations import LayerSynapses, OperationCounter

PICO = 1e-12


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What one layer does for a picture, mean over pictures.

    Attributes:
        layer: name of a spiking layer or a read-out.
        neurons: of a spiking layer, 0 for a read-out.
        macs: of the ANN's convolution, padding included.
        macs_inside: without the zeros of the padding.
        constant_macs: of ``macs``, those on the image, which the spiking network computes once as well.
        sops: in each time step, of the spikes that reach the layer.
        spikes: that its neurons send in each time step.
    """

    layer: str
    neurons: int
    macs: int
    macs_inside: int
    constant_macs: int
    sops: tuple[float, ...]
    spikes: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class EnergyRow:
    """One network at one time step under one table of constants, for a picture.

    Attributes:
        network: what a table calls it.
        constants: name of the table of constants.
        T, t, L: of a spiking network (T also of a QC-ANN).
        AP: AP50:95 on the pictures measured, percent, if it is known.
        loss, loss_ci95: points of AP50:95 below the better ANN, and the bootstrap interval.
        macs: multiply-accumulates.
        sops, sops_std: synaptic operations in t steps, mean and standard deviation over pictures; 0 for an ANN.
        spikes: in t steps, mean.
        firing_rate: spikes per neuron and step.
        joules, joules_std: mean and standard deviation over pictures.
        joules_every_step: if the convolution of the image were computed in every step.
        ratio, ratio_std: joules over those of the float ANN.
        ratio_quantized: joules over those of the quantized ANN.
    """

    network: str
    constants: str
    T: int | None = None
    t: int | None = None
    L: int | None = None
    AP: float | None = None
    loss: float | None = None
    loss_ci95: tuple[float, float] | None = None
    macs: int
    sops: float = 0.0
    sops_std: float = 0.0
    spikes: float = 0.0
    firing_rate: float = 0.0
    joules: float
    joules_std: float = 0.0
    joules_every_step: float | None = None
    ratio: float
    ratio_std: float = 0.0
    ratio_quantized: float


def ann_joules(layers: Sequence[LayerSynapses], constants: EnergyConstants, memory: bool) -> float:
    """Of the dense network for one picture."""
    macs = sum(layer.macs for layer in layers)
    picojoules = macs * constants.mac_pj
    if memory and constants.memory is not None:
        accesses = constants.memory.per_mac * macs + constants.memory.per_output * sum(x.outputs for x in layers)
        picojoules += accesses * constants.memory.access_pj
    return picojoules * PICO


def snn_joules(
    layers: Sequence[LayerSynapses],
    constants: EnergyConstants,
    memory: bool,
    t: int,
    sops: Tensor,
    spikes: Tensor,
    *,
    times: int = 1,
) -> Tensor:
    """Of a spiking network, for every picture.

    Args:
        layers: of the network.
        constants: what an operation costs.
        memory: add the memory traffic.
        t: steps.
        sops, spikes: ``[N]``, in t steps.
        times: how often the convolution of the image is computed.
    """
    macs = times * sum(layer.constant_macs for layer in layers)
    picojoules = macs * constants.mac_pj + sops * constants.ac_pj
    if memory and (model := constants.memory) is not None:
        neurons = sum(layer.neurons for layer in layers)
        accesses = model.per_mac * macs + model.per_sop * sops + model.per_neuron_step * neurons * t
        picojoules = picojoules + (accesses + model.per_spike * spikes) * model.access_pj
    return picojoules * PICO


class Moments:
    """Mean and standard deviation over pictures that come in batches, of several numbers each."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """One batch ``[..., N]``; batches are joined as by Chan, Golub and LeVeque (1979)."""
        values = values.double()
        number, mean = values.shape[-1], values.mean(-1)
        squares = (values - mean.unsqueeze(-1)).square().sum(-1)
        if self._mean is None or self._squares is None:
            self._mean, self._squares = mean, squares
        else:
            total, apart = self.count + number, mean - self._mean
            self._squares = self._squares + squares + apart.square() * (self.count * number / total)
            self._mean = self._mean + apart * (number / total)
        self.count += number

    @property
    def mean(self) -> Tensor:
        """``[...]``."""
        assert self._mean is not None, "no picture was added"
        return self._mean

    @property
    def std(self) -> Tensor:
        """``[...]``, of the sample; zero for one picture."""
        assert self._squares is not None, "no picture was added"
        return (self._squares / max(self.count - 1, 1)).sqrt()


class EnergyMeter:
    """Adds up what a network does on batches of pictures.

    Args:
        layers: of the network.
        steps: time steps t that are read out.
        tables: of constants.
        memory: add the memory traffic.
    """

    def __init__(
        self, layers: Sequence[LayerSynapses], steps: Sequence[int], tables: Sequence[EnergyConstants], memory: bool
    ) -> None:
        self.layers, self.steps, self.tables, self.memory = layers, steps, tables, memory
        self._by_layer = Moments()
        self._totals = {t: Moments() for t in steps}
        self._joules = {(t, table.name): Moments() for t in steps for table in tables}

    def add(self, counter: OperationCounter) -> None:
        """One batch that the counter has seen."""
        self._by_layer.add(torch.stack([counter.sops, counter.spikes]))
        for t in self.steps:
            sops, spikes = counter.sops[:, :t].sum((0, 1)), counter.spikes[:, :t].sum((0, 1))
            self._totals[t].add(torch.stack([sops, spikes]))
            for table in self.tables:
                self._joules[t, table.name].add(snn_joules(self.layers, table, self.memory, t, sops, spikes))

    def layer_costs(self) -> tuple[LayerCost, ...]:
        """Mean over the pictures so far."""
        sops, spikes = self._by_layer.mean.tolist()
        return tuple(
            LayerCost(
                layer=layer.layer,
                neurons=layer.neurons,
                macs=layer.macs,
                macs_inside=layer.met,
                constant_macs=layer.constant_macs,
                sops=tuple(sops[row]),
                spikes=tuple(spikes[row]),
            )
            for row, layer in enumerate(self.layers)
        )

    def row(self, t: int, table: EnergyConstants, network: str, float_joules: float, int_joules: float) -> EnergyRow:
        """The network at one read-out; AP and what the network was made for are not known here."""
        totals, joules = self._totals[t], self._joules[t, table.name]
        sops, spikes = totals.mean.tolist()
        mean, deviation = joules.mean.item(), joules.std.item()
        macs = sum(layer.constant_macs for layer in self.layers)
        neurons = sum(layer.neurons for layer in self.layers)
        every = snn_joules(self.layers, table, self.memory, t, totals.mean[0], totals.mean[1], times=t)
        return EnergyRow(
            network=network,
            constants=table.name,
            t=t,
            macs=macs,
            sops=sops,
            sops_std=totals.std[0].item(),
            spikes=spikes,
            firing_rate=spikes / max(neurons * t, 1),
            joules=mean,
            joules_std=deviation,
            joules_every_step=every.item(),
            ratio=_over(mean, float_joules),
            ratio_std=_over(deviation, float_joules),
            ratio_quantized=_over(mean, int_joules),
        )


def _over(part: float, whole: float) -> float:
    return part / whole if whole and math.isfinite(whole) else 0.0

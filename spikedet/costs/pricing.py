"""Energy of a detector for one image: operations counted, each priced by a table of constants.

    ANN:  E = mac_pj MACs
    SNN:  E(t) = mac_pj (MACs on the image + t MACs of analog currents) + ac_pj SOPs of the first t steps

(Wang et al., section VI-E, with the input convolution as what it is.) A SOP is one accumulation, counted for every
weight that a spike meets. A linear layer that is kept as an analog current, and what reads it, costs MACs. Additions of
biases and comparisons with theta, one for each neuron and step, are in neither.

A model of memory traffic may be added:

    ANN:  access_pj (per_mac MACs + per_output outputs)
    SNN:  access_pj (per_mac MACs + per_sop SOPs + per_neuron_step neurons (t + delay) + per_spike spikes)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from spikedet.costs.constants import EnergyConstants
from spikedet.costs.operations import LayerSynapses

PICO = 1e-12


@dataclass(frozen=True)
class Totals:
    """What a network is, all layers together; nothing of it depends on the image.

    Attributes:
        macs: of the dense network, zeros of the padding included.
        image_macs: of ``macs``, those on the image.
        outputs: values that its layers compute for an image.
        neurons: of its spiking layers.
        waits: the steps that each of its neurons waits before it may fire (firing delay), added.
        analog_macs: of ``macs``, those that a spiking network computes in every step, of and on analog currents.
    """

    macs: int
    image_macs: int
    outputs: int
    neurons: int
    waits: int = 0
    analog_macs: int = 0

    @classmethod
    def of(cls, layers: Sequence[LayerSynapses]) -> Self:
        """Sums over the layers."""
        return cls(
            macs=sum(layer.macs for layer in layers),
            image_macs=sum(layer.constant_macs for layer in layers),
            outputs=sum(layer.outputs for layer in layers),
            neurons=sum(layer.neurons for layer in layers),
            waits=sum(layer.neurons * layer.delay for layer in layers),
            analog_macs=sum(layer.analog_macs for layer in layers),
        )


@dataclass(frozen=True)
class Pricing:
    """How operations become joules.

    Attributes:
        constants: energy of each operation.
        memory_traffic: add the table's model of it; a table without one is refused by ``load_constants``.
        image_every_step: the spiking network's convolution of the image is computed in every step, not once.
    """

    constants: EnergyConstants
    memory_traffic: bool = False
    image_every_step: bool = False

    def ann_joules(self, totals: Totals) -> float:
        """Of the dense network for one image."""
        picojoules = totals.macs * self.constants.mac_pj
        if self.memory_traffic and (model := self.constants.memory) is not None:
            picojoules += (model.per_mac * totals.macs + model.per_output * totals.outputs) * model.access_pj
        return picojoules * PICO

    def snn_macs(self, totals: Totals, t: int) -> int:
        """Of a spiking network read out after t steps: on the image, and of analog currents in every step."""
        return totals.image_macs * (t if self.image_every_step else 1) + totals.analog_macs * t

    def snn_joules(self, totals: Totals, t: int, sops: Tensor, spikes: Tensor) -> Tensor:
        """Of a spiking network read out after t steps, for every image.

        Args:
            totals: of the network.
            t: steps.
            sops: ``[N]``, of t steps, all layers together.
            spikes: the same.

        Returns:
            ``[N]``.
        """
        macs = self.snn_macs(totals, t)
        picojoules = macs * self.constants.mac_pj + sops * self.constants.ac_pj
        if self.memory_traffic and (model := self.constants.memory) is not None:
            updates = totals.neurons * t + totals.waits
            accesses = model.per_mac * macs + model.per_sop * sops + model.per_neuron_step * updates
            picojoules = picojoules + (accesses + model.per_spike * spikes) * model.access_pj
        return picojoules * PICO

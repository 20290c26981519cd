"""Energy of a detector for one image: operations counted, each priced by a table of constants.

    ANN:  E = mac_pj MACs
    SNN:  E(t) = mac_pj (MACs on the image + t MACs of analog currents and leaks) + ac_pj SOPs of the first t steps

(Wang et al., section VI-E, with the input convolution as what it is.) A SOP is one accumulation, counted for every
weight that a spike meets. A linear layer that is kept as an analog current, and what reads it, costs MACs; a C-LIF
neuron, two in every step for its decays. Additions of biases and comparisons with theta, one for each neuron and step,
are in neither.

A model of memory traffic may be added:

    ANN:  access_pj (per_mac MACs + per_output outputs)
    SNN:  access_pj (per_mac MACs + per_sop SOPs + per_neuron_step neurons (t + delay) + per_spike spikes)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

from spikedet.costs.constants import EnergyConstants
from spikedet.costs.counts import OperationCounts
from spikedet.costs.operations import LayerSynapses
from spikedet.costs.report import Spent

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
        leak_macs: those of its neurons' decays in every step.
    """

    macs: int
    image_macs: int
    outputs: int
    neurons: int
    waits: int = 0
    analog_macs: int = 0
    leak_macs: int = 0

    @classmethod
    def of(cls, layers: Sequence[LayerSynapses]) -> Self:
        """Sums over the layers."""
        return cls(**{field.name: sum(getattr(layer, field.name) for layer in layers) for field in fields(cls)})


@dataclass(frozen=True)
class Pricing:
    """How operations become joules.

    Attributes:
        constants: energy of each operation.
        memory_traffic: add the table's model of it; a table without one is refused by ``load_constants``.
    """

    constants: EnergyConstants
    memory_traffic: bool = False

    def ann_joules(self, totals: Totals) -> float:
        """Of the dense network for one image."""
        picojoules = totals.macs * self.constants.mac_pj
        if self.memory_traffic and (model := self.constants.memory) is not None:
            picojoules += (model.per_mac * totals.macs + model.per_output * totals.outputs) * model.access_pj
        return picojoules * PICO

    def snn_macs(self, totals: Totals, t: int) -> int:
        """Of a spiking network read out after t steps: on the image, and of analog currents and leaks in every step."""
        return totals.image_macs + (totals.analog_macs + totals.leak_macs) * t

    def snn_joules(self, totals: Totals, t: int, sops: float, spikes: float) -> float:
        """Of a spiking network read out after t steps.

        Args:
            totals: of the network.
            t: steps.
            sops: of t steps, all layers together.
            spikes: the same.
        """
        macs = self.snn_macs(totals, t)
        picojoules = macs * self.constants.mac_pj
        if self.memory_traffic and (model := self.constants.memory) is not None:
            updates = totals.neurons * t + totals.waits
            picojoules += (model.per_mac * macs + model.per_neuron_step * updates) * model.access_pj
        of_sop, of_spike = self._picojoules()
        return (picojoules + sops * of_sop + spikes * of_spike) * PICO

    def _picojoules(self) -> tuple[float, float]:
        """Of one more SOP, and of one more spike."""
        model = self.constants.memory if self.memory_traffic else None
        if model is None:
            return self.constants.ac_pj, 0.0
        return self.constants.ac_pj + model.per_sop * model.access_pj, model.per_spike * model.access_pj

    def spent(self, totals: Totals, t: int, counts: OperationCounts) -> Spent:
        """A read-out of a spiking network after t steps, priced.

        Joules are linear in SOPs and spikes, j = a + b o + c s, so that mean and deviation over images are

            E[j] = a + b E[o] + c E[s]        Var[j] = b^2 Var[o] + 2 b c Cov[o, s] + c^2 Var[s]
        """
        every_step = replace(totals, image_macs=totals.image_macs * t)
        b, c = self._picojoules()
        variance = (b * counts.sops_std) ** 2 + 2 * b * c * counts.covariance + (c * counts.spikes_std) ** 2
        return Spent(
            sops=counts.sops,
            sops_std=counts.sops_std,
            spikes=counts.spikes,
            firing_rate=counts.spikes / max(totals.neurons * t, 1),
            joules=self.snn_joules(totals, t, counts.sops, counts.spikes),
            joules_std=math.sqrt(max(variance, 0.0)) * PICO,
            joules_image_every_step=self.snn_joules(every_step, t, counts.sops, counts.spikes),
        )

"""What ``spikedet energy`` found, as frozen dataclasses that become ``energy.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spikedet.costs.constants import EnergyConstants
from spikedet.costs.counts import LayerCounts


@dataclass(frozen=True, kw_only=True)
class LayerCost(LayerCounts):
    """What one layer does for an image.

    Attributes:
        layer: name of a spiking layer or a read-out.
        neurons: of a spiking layer, 0 for a read-out.
        macs: of the ANN's convolution, zeros of the padding included.
        macs_inside: without those zeros.
        image_macs: of ``macs``, those on the image, which the spiking network computes as well.
        analog_macs: of ``macs``, those of and on analog currents, which it computes in every time step.
    """

    layer: str
    neurons: int
    macs: int
    macs_inside: int
    image_macs: int
    analog_macs: int = 0


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One read-out under one pricing, mean and standard deviation over images.

    Attributes:
        sops, sops_std: synaptic operations in t steps.
        spikes: in t steps.
        firing_rate: spikes per neuron and step.
        joules, joules_std: by the pricing, with the image convolved once.
        joules_image_every_step: mean, with the image convolved in each of the t steps.
    """

    sops: float
    sops_std: float
    spikes: float
    firing_rate: float
    joules: float
    joules_std: float
    joules_image_every_step: float


@dataclass(frozen=True, kw_only=True)
class EnergyRow:
    """One network at one time step under one table of constants, for an image.

    Attributes:
        network: what a table calls it.
        sparsity: its penalties on firing, the end of that name; empty without any.
        model, image_size: the architecture in words, and the side of its square input in pixels.
        constants: name of the table of constants.
        T, t, L: of a spiking network; T also of a QC-ANN and of a clip ANN after Stage I.
        AP: AP50:95 on the same split, percent, if it is known.
        loss, loss_ci95: points of AP50:95 below the better ANN, and the bootstrap interval.
        macs: multiply-accumulates in all that is priced here.
        spent: of a spiking network.
        joules: mean over images.
        ratio: joules over those of the float ANN.
        ratio_quantized: joules over those of the quantized ANN.
    """

    network: str
    sparsity: str = ""
    model: str
    image_size: int
    constants: str
    T: int | None = None
    t: int | None = None
    L: int | None = None
    AP: float | None = None
    loss: float | None = None
    loss_ci95: tuple[float, float] | None = None
    macs: int
    spent: Spent | None = None
    joules: float
    ratio: float
    ratio_quantized: float

    @property
    def subject(self) -> str:
        """What is priced, in words."""
        return f"{self.model} at {self.image_size} px"

    @property
    def steps(self) -> str:
        """Its time steps in words."""
        return f"T = {self.T}" if self.t in (None, self.T) else f"T = {self.T}, t = {self.t}"


@dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """Costs of every layer of one spiking network.

    Attributes:
        network: what a table calls it, with its T.
        layers: in execution order.
    """

    network: str
    layers: tuple[LayerCost, ...]


@dataclass(frozen=True, kw_only=True)
class EnergyReport:
    """Energy of one or several networks and of the ANNs they came from.

    Attributes:
        data, split, images: images that spikes were counted on, and how many; empty and 0 for ANNs alone.
        ap_source: where AP is from, in words; empty if it is not known.
        constants: tables of constants, that of the float ANN first.
        memory_traffic: whether the figures hold it.
        rows: ANN, quantized ANNs, then the spiking networks by time step.
        networks: the spiking networks, layer by layer.
        meta: versions, settings and the hash of every checkpoint.
    """

    data: str
    split: str
    images: int
    ap_source: str
    constants: tuple[EnergyConstants, ...]
    memory_traffic: bool
    rows: tuple[EnergyRow, ...]
    networks: tuple[NetworkCost, ...]
    meta: dict[str, Any] = field(default_factory=dict)

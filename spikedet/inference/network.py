"""Any checkpoint as one kind of thing: images in, decoded predictions by time step out.

ANN, QC-ANN and spiking networks are evaluated and shown by the same code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, read_meta
from spikedet.common.environment import pick_device
from spikedet.common.errors import ConfigError
from spikedet.config import SimulationConfig
from spikedet.conversion import load_spiking, to_spiking
from spikedet.costs.operations import OperationCounter, layer_synapses
from spikedet.models import ClipDetector, as_qc, load_ann
from spikedet.models.postprocess import decode_maps
from spikedet.snn import SpikingNetwork, make_backend, simulate
from spikedet.snn.backends.dense import float32
from spikedet.snn.memory import estimate_bytes

ANN_STEP = 0
"""The "time step" of a network without time."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of a batch.

    Attributes:
        decoded: ``[N, 4 + classes, A]``.
        spikes: per image ``[N]``; None where nothing spikes.
        sops: synaptic operations per image ``[N]``; None where they were not counted.
    """

    decoded: Tensor
    spikes: Tensor | None = None
    sops: Tensor | None = None


class Network(Protocol):
    """A loaded network."""

    meta: CheckpointMeta

    def steps(self, requested: Sequence[int]) -> list[int]:
        """Time steps that can be read out, of those requested (its own T if none are)."""

    def stream(
        self, images: Tensor, steps: Sequence[int], *, chunk: int | None = None, count_sops: bool = False
    ) -> Iterator[tuple[int, Prediction]]:
        """Predictions of ``[N, 3, S, S]`` in [0, 1], each as soon as its time step is there.

        Args:
            images: images.
            steps: time steps to read out.
            chunk: time steps simulated together; 1 for the lowest latency, None for the highest throughput.
            count_sops: also count synaptic operations.
        """

    def predict(self, images: Tensor, steps: Sequence[int]) -> dict[int, Prediction]:
        """All of them, by time step."""

    def latency(self, t: int) -> int | None:
        """L of a read-out after t steps, None without time."""

    def neurons(self) -> int | None:
        """Spiking neurons of all layers; None where nothing spikes."""

    def ann_macs(self) -> int | None:
        """Multiply-accumulates of the ANN of a spiking network for one image; None where nothing spikes."""

    def describe(self, batch: int) -> str:
        """What computes it, and for a spiking network why, and the memory that this many images will take."""


class AnnNetwork:
    """A source ANN, a clip ANN with Stage I's weights, or (``T`` given) a QC-ANN."""

    def __init__(self, model: ClipDetector, meta: CheckpointMeta, T: int | None = None, *, device: str = "cpu") -> None:
        self.meta, self._device = meta, pick_device(device)
        self.model = (as_qc(model, T) if T is not None else model).eval().to(self._device)

    def describe(self, batch: int) -> str:
        return f"torch on {self._device}"

    def steps(self, requested: Sequence[int]) -> list[int]:
        return [ANN_STEP]

    @torch.no_grad()
    def stream(
        self, images: Tensor, steps: Sequence[int], *, chunk: int | None = None, count_sops: bool = False
    ) -> Iterator[tuple[int, Prediction]]:
        with float32():  # as the spiking networks that are held against it
            decoded = self.model(images.to(self._device))[0]
        yield ANN_STEP, Prediction(decoded)

    def predict(self, images: Tensor, steps: Sequence[int]) -> dict[int, Prediction]:
        return dict(self.stream(images, steps))

    def latency(self, t: int) -> int | None:
        return None

    def neurons(self) -> int | None:
        return None

    def ann_macs(self) -> int | None:
        return None


class SnnNetwork:
    """A converted network, simulated as the settings say."""

    def __init__(self, network: SpikingNetwork, meta: CheckpointMeta, how: SimulationConfig | None = None) -> None:
        how = how or SimulationConfig()
        self.meta, self.network = meta, network.to(pick_device(how.device))
        self.backend = make_backend(self.network, how.backend, how.mode)
        self._chunk = how.chunk or None

    def describe(self, batch: int) -> str:
        size = self.meta.image_size
        chunk = min(self._chunk or self.backend.chunk(batch), self.network.latency(self.network.T))
        mib = estimate_bytes(self.backend, (size, size), batch, chunk) / 2**20
        return f"{self.backend}; about {mib:.0f} MiB at batch {batch}"

    def steps(self, requested: Sequence[int]) -> list[int]:
        return [t for t in requested if t <= self.network.T] if requested else [self.network.T]

    @cached_property
    def _counter(self) -> OperationCounter:
        return OperationCounter(self.network, self.backend, self._image_hw, self.network.T)

    @property
    def _image_hw(self) -> tuple[int, int]:
        return (self.meta.image_size, self.meta.image_size)

    def stream(
        self, images: Tensor, steps: Sequence[int], *, chunk: int | None = None, count_sops: bool = False
    ) -> Iterator[tuple[int, Prediction]]:
        counter = self._counter if count_sops else None
        if counter is not None:
            counter.begin(len(images))
        for reading in simulate(
            self.network,
            images,
            steps,
            T=self.network.T,
            chunk=chunk or self._chunk,
            backend=self.backend,
            watch=counter,
        ):
            sops = None if counter is None else counter.sops[:, : reading.t].sum((0, 1))
            yield reading.t, Prediction(decode_maps(self.network, reading.maps), reading.spikes, sops)

    def predict(self, images: Tensor, steps: Sequence[int]) -> dict[int, Prediction]:
        return dict(self.stream(images, steps))

    def latency(self, t: int) -> int | None:
        return self.network.latency(t)

    def neurons(self) -> int | None:
        return self.network.neuron_count(self._image_hw)

    def ann_macs(self) -> int | None:
        return sum(layer.macs for layer in layer_synapses(self.network, self._image_hw))


def load_network(path: str | Path, how: SimulationConfig | None = None) -> Network:
    """A checkpoint of any stage, ready to predict; a QC checkpoint as its QC-ANN.

    Args:
        path: the checkpoint.
        how: backend, mode and device; their defaults unless given.

    Raises:
        CheckpointError: the file cannot be used.
        ConfigError: the backend or the device that was asked for is not there.
    """
    how = how or SimulationConfig()
    path = Path(path)
    meta = read_meta(path)
    if meta.spiking:
        network, meta = load_spiking(path)
        return SnnNetwork(network, meta, how)
    model, meta = load_ann(path)
    return AnnNetwork(model, meta, meta.T if meta.stage == "qc" else None, device=how.device)


def require_steps(network: Network, requested: Sequence[int]) -> list[int]:
    """The steps to read out; an error if one asked for lies beyond the network's T."""
    T = network.meta.T
    if network.meta.spiking and T is not None and not all(1 <= t <= T for t in requested):
        raise ConfigError(f"the network was converted for T = {T}; time steps must lie in 1..T, got {list(requested)}")
    return network.steps(requested)


def networks_of(path: Path, how: SimulationConfig) -> list[tuple[str, Network]]:
    """The networks that one checkpoint represents: a QC checkpoint is a clip ANN and a QC-ANN."""
    meta = read_meta(path)
    if meta.stage != "qc":
        return [(meta.stage, load_network(path, how))]
    model, meta = load_ann(path)
    clip = AnnNetwork(model, dataclasses.replace(meta, stage="ann"), device=how.device)
    return [("ann", clip), ("qc", AnnNetwork(model, meta, meta.T, device=how.device))]


def before_calibration(calibrated: CheckpointMeta, qc: AnnNetwork, how: SimulationConfig) -> Network | None:
    """The network that a calibrated one was before Stage II, converted anew from its QC-ANN; None if it has no such."""
    same_task = (qc.meta.architecture, qc.meta.class_names) == (calibrated.architecture, calibrated.class_names)
    if not same_task or not calibrated.finetuned or calibrated.stage == "copied":
        return None
    T, neuron = calibrated.T, calibrated.neuron
    assert T is not None and neuron is not None
    network = to_spiking(
        qc.model,
        T,
        neuron=neuron,
        delay=calibrated.delay,
        max_pool=calibrated.max_pool,
        linear=calibrated.linear,
    )
    return SnnNetwork(network, dataclasses.replace(calibrated, stage="copied", notes={}), how)

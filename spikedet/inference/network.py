"""Any checkpoint, or exported file, as one kind of thing: images in, decoded predictions by time step out.

ANN, QC-ANN and spiking networks are evaluated and shown by the same code.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, read_meta
from spikedet.common.digests import file_sha256, json_sha256
from spikedet.common.environment import pick_device
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.common.objects import given
from spikedet.config import SimulationConfig
from spikedet.conversion import load_spiking, to_spiking
from spikedet.costs.operations import OperationCounter
from spikedet.costs.synapses import network_macs
from spikedet.exports import format_to_read
from spikedet.models import ClipDetector, load_ann
from spikedet.models.methods import with_method
from spikedet.models.postprocess import decode_maps
from spikedet.snn import Backend, SpikingNetwork, make_backend, simulate
from spikedet.snn.backends.dense import float32
from spikedet.snn.closed_form import ClosedForm, has_closed_form
from spikedet.snn.memory import estimate_bytes

ANN_STEP = 0
"""The "time step" of a network without time."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of a batch.

    Attributes:
        decoded: ``[N, 4 + classes, A]``.
        spikes: per image ``[N]``; None where nothing spikes.
        operations: float64 ``[2, layers, t, N]``, SOPs and spikes by layer with weights and step; None where they were
            not counted.
    """

    decoded: Tensor
    spikes: Tensor | None = None
    operations: Tensor | None = None

    @property
    def sops(self) -> Tensor | None:
        """Synaptic operations per image ``[N]``; None where they were not counted."""
        return None if self.operations is None else self.operations[0].sum((0, 1))


class Network(ABC):
    """A loaded network."""

    meta: CheckpointMeta

    @abstractmethod
    def steps(self, requested: Sequence[int]) -> list[int]:
        """Time steps that can be read out, of those requested (its own T if none are)."""

    @abstractmethod
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

    def __call__(
        self, images: Tensor, t: int | Sequence[int] = (), *, count_sops: bool = False
    ) -> dict[int, Prediction]:
        """Predictions by time step: ``network(images, t=[2, 4, 8])``; its own T unless given, 0 without time.

        Raises:
            ConfigError: a time step beyond the network's T.
        """
        return dict(self.stream(images, require_steps(self, t), count_sops=count_sops))

    def latency(self, t: int) -> int | None:
        """L of a read-out after t steps, None without time."""
        return None

    def neurons(self) -> int | None:
        """Spiking neurons of all layers; None where nothing spikes."""
        return None

    def ann_macs(self) -> int | None:
        """Multiply-accumulates of the ANN of a spiking network for one image; None where nothing spikes."""
        return None

    @abstractmethod
    def describe(self, batch: int) -> str:
        """What computes it, and for a spiking network why, and the memory that this many images will take."""


class AnnNetwork(Network):
    """A network that is not converted: an ANN, a QC-ANN, or one that another method has trained."""

    def __init__(self, model: ClipDetector, meta: CheckpointMeta, *, device: str = "cpu") -> None:
        self.meta, self._device = meta, pick_device(device)
        self.model = model.eval().to(self._device)

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


class SnnNetwork(Network):
    """A converted network, simulated as the settings say."""

    def __init__(self, network: SpikingNetwork, meta: CheckpointMeta, how: SimulationConfig | None = None) -> None:
        how = how or SimulationConfig()
        self.meta, self.network = meta, network.to(pick_device(how.device))
        self._how, self._chunk = how, how.chunk or None
        simulates = how.backend != "auto" or self._chunk or not has_closed_form(self.network)
        self._closed = None if simulates else ClosedForm(self.network, how.mode)

    @cached_property
    def backend(self) -> Backend:
        """What simulates it."""
        return make_backend(self.network, self._how.backend, self._how.mode)

    def describe(self, batch: int) -> str:
        if self._closed is not None:
            weights = f"{self._closed.precision} weights"
            return f"closed form: whole numbers, as every layer waits, {weights} (--backend native simulates)"
        size = self.meta.image_size
        chunk = min(self._chunk or self.backend.chunk(batch), self.network.latency(self.network.T))
        mib = estimate_bytes(self.backend, (size, size), batch, chunk) / 2**20
        return f"{self.backend}; about {mib:.0f} MiB at batch {batch}"

    def steps(self, requested: Sequence[int]) -> list[int]:
        return [t for t in requested if t <= self.network.T] if requested else [self.network.T]

    @cached_property
    def _counter(self) -> OperationCounter:
        backend = self.backend if self._closed is None else None
        return OperationCounter(self.network, backend, self._image_hw, self.network.T)

    @property
    def _image_hw(self) -> tuple[int, int]:
        return (self.meta.image_size, self.meta.image_size)

    def stream(
        self, images: Tensor, steps: Sequence[int], *, chunk: int | None = None, count_sops: bool = False
    ) -> Iterator[tuple[int, Prediction]]:
        counter = self._counter if count_sops else None
        if counter is not None:
            counter.begin(len(images))
        if self._closed is not None:
            images = images.to(pick_device(self._how.device))
            readings = self._closed(images, steps, None if counter is None else counter.count_whole)
        else:
            T, chunk = self.network.T, chunk or self._chunk
            readings = simulate(self.network, images, steps, T=T, chunk=chunk, backend=self.backend, watch=counter)
        for reading in readings:
            operations = None if counter is None else counter.until(reading.t)
            yield reading.t, Prediction(decode_maps(self.network, reading.maps), reading.spikes, operations)

    def latency(self, t: int) -> int | None:
        return self.network.latency(t)

    def neurons(self) -> int | None:
        return self.network.neuron_count(self._image_hw)

    def ann_macs(self) -> int | None:
        return network_macs(self.network, self._image_hw)


def load_network(path: str | Path, how: SimulationConfig | None = None, name: str = "") -> Network:
    """A checkpoint of any stage, ready to predict; a QC checkpoint is its QC-ANN.

    Args:
        path: the checkpoint, or a file of ``spikedet export`` that ends in .onnx or .xml.
        how: backend, mode and device; their defaults unless given.
        name: ``ann`` asks a QC checkpoint for the clip ANN with its weights; others are known by their stage alone.

    Raises:
        CheckpointError: the file cannot be used, or holds no network of this name.
        ConfigError: the backend or the device that was asked for is not there.
    """
    how = how or SimulationConfig()
    path = Path(path)
    if (network := given(path)) is not None:
        return network
    if format_to_read(path) is not None:
        from spikedet.inference.exported import ExportedNetwork  # it is one of the networks of this module

        return ExportedNetwork(path, how)
    meta = read_meta(path)
    if name not in ("", *network_names(path)):
        raise CheckpointError(f"{path}: holds {' and '.join(network_names(path))}, no network of the name {name!r}")
    if meta.spiking:
        graph, meta = load_spiking(path)
        return SnnNetwork(graph, meta, how)
    model, meta = load_ann(path)
    if name == "ann":
        meta = dataclasses.replace(meta, stage="ann")
    return AnnNetwork(with_method(model, meta), meta, device=how.device)


def spiking_graph(path: Path, *, clipped: bool = False) -> tuple[SpikingNetwork, CheckpointMeta]:
    """A checkpoint of any stage as the graph of a spiking network, that of an ANN converted.

    With ``clipped``, convolutions without activation have a range there even where the ANN does not clip them.
    """
    network = given(path)
    if isinstance(network, SnnNetwork):
        return network.network, network.meta
    if network is not None and not isinstance(network, AnnNetwork):
        raise CheckpointError(f"{path}: an exported file has no layers to look into; name the checkpoint it came from")
    if network is None and read_meta(path).spiking:
        return load_spiking(path)
    model, meta = load_ann(path) if network is None else (network.model, network.meta)
    return to_spiking(model, meta.T or 1, max_pool=meta.max_pool, linear="spiking" if clipped else meta.linear), meta


def checkpoint_sha256(path: Path) -> str:
    """Digest of the file, or of the tensors and metadata of a network that was given as an object."""
    network = given(path)
    if not isinstance(network, (AnnNetwork, SnnNetwork)):
        return file_sha256(path)
    module = network.network if isinstance(network, SnnNetwork) else network.model
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return json_sha256([dataclasses.asdict(network.meta), hashlib.sha256(save(tensors)).hexdigest()])


def network_names(path: Path) -> tuple[str, ...]:
    """Names of the networks in a checkpoint: its stage, and in a QC checkpoint ``ann``, the clip ANN, before it."""
    stage = read_meta(path).stage
    return ("ann", "qc") if stage == "qc" and given(path) is None else (stage,)


def require_steps(network: Network, requested: int | Sequence[int]) -> list[int]:
    """The steps to read out, its own T where none are asked for. Raises ConfigError if one lies beyond T."""
    requested, T = [requested] if isinstance(requested, int) else requested, network.meta.T
    if network.meta.spiking and T is not None and not all(1 <= t <= T for t in requested):
        raise ConfigError(f"the network was converted for T = {T}; time steps must lie in 1..T, got {list(requested)}")
    steps = network.steps(requested)
    if network.meta.spiking and (missing := set(requested) - set(steps)):
        raise ConfigError(f"the file gives outputs at t = {steps} alone, not at {sorted(missing)}; export it with --t")
    return steps


def before_calibration(calibrated: Network, qc: AnnNetwork, how: SimulationConfig) -> Network | None:
    """The network that a calibrated one was before Stage II, converted again from its QC-ANN; None if there is none.

    None, too, of an exported file of a network whose layers wait for different numbers of steps, which it does not say.
    """
    meta = calibrated.meta
    same_task = (qc.meta.architecture, qc.meta.class_names) == (meta.architecture, meta.class_names)
    if not same_task or not meta.finetuned or meta.stage == "copied" or meta.method != qc.meta.method:
        return None
    same: Any = {name: getattr(meta, name) for name in ("T", "neuron", "delay", "max_pool", "linear")}
    network = to_spiking(qc.model, **same)
    if isinstance(calibrated, SnnNetwork):
        network.set_delays_({node.name: layer.delay for node, layer in calibrated.network.spiking()})
    if network.latency(network.T) != calibrated.latency(network.T):
        return None
    return SnnNetwork(network, dataclasses.replace(meta, stage="copied", notes={}), how)

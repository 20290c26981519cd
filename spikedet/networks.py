"""Any checkpoint as one kind of thing: pictures in, decoded predictions by time step out.

ANN, QC-ANN and spiking networks are judged and shown by the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, read_meta
from spikedet.config import DEFAULT_CHUNK
from spikedet.conversion import load_spiking
from spikedet.errors import ConfigError
from spikedet.models import ClipDetector, as_qc, load_ann
from spikedet.models.postprocess import decode_head
from spikedet.snn import SpikingNetwork, simulate

ANN_STEP = 0
"""The "time step" of a network without time."""


@dataclass(frozen=True)
class Prediction:
    """Decoded predictions ``[N, 4 + classes, A]`` and, for a spiking network, spikes per picture ``[N]``."""

    decoded: Tensor
    spikes: Tensor | None = None


class Network(Protocol):
    """A loaded network."""

    meta: CheckpointMeta

    def steps(self, requested: Sequence[int]) -> list[int]:
        """Time steps that can be read out, of those requested (its own T if none are)."""

    def predict(self, images: Tensor, steps: Sequence[int]) -> dict[int, Prediction]:
        """``[N, 3, S, S]`` in [0, 1] -> predictions by time step."""

    def latency(self, t: int) -> int | None:
        """L of a read-out after t steps, None without time."""


class AnnNetwork:
    """A source ANN, a clip ANN with Stage I's weights, or (``T`` given) a QC-ANN."""

    def __init__(self, model: ClipDetector, meta: CheckpointMeta, T: int | None = None) -> None:
        self.meta = meta
        self._model = (as_qc(model, T) if T is not None else model).eval()

    def steps(self, requested: Sequence[int]) -> list[int]:
        return [ANN_STEP]

    @torch.no_grad()
    def predict(self, images: Tensor, steps: Sequence[int]) -> dict[int, Prediction]:
        return {ANN_STEP: Prediction(self._model(images)[0])}

    def latency(self, t: int) -> int | None:
        return None


class SnnNetwork:
    """A converted network; ``chunk`` time steps are simulated together."""

    def __init__(self, network: SpikingNetwork, meta: CheckpointMeta, chunk: int = DEFAULT_CHUNK) -> None:
        self.meta, self.network, self._chunk = meta, network, chunk

    def steps(self, requested: Sequence[int]) -> list[int]:
        return [t for t in requested if t <= self.network.T] if requested else [self.network.T]

    def predict(self, images: Tensor, steps: Sequence[int]) -> dict[int, Prediction]:
        found = {}
        for reading in simulate(self.network, images, steps, T=self.network.T, chunk=self._chunk):
            boxes = [reading.maps[name] for name in self.network.box_readouts]
            classes = [reading.maps[name] for name in self.network.class_readouts]
            found[reading.t] = Prediction(decode_head(boxes, classes, self.network.strides), reading.spikes)
        return found

    def latency(self, t: int) -> int | None:
        return self.network.latency(t)


def load_network(path: str | Path, chunk: int = DEFAULT_CHUNK) -> Network:
    """A checkpoint of any stage, ready to predict; a QC checkpoint as its QC-ANN.

    Raises:
        CheckpointError: the file cannot be used.
    """
    path = Path(path)
    meta = read_meta(path)
    if meta.spiking:
        network, meta = load_spiking(path)
        return SnnNetwork(network, meta, chunk)
    model, meta = load_ann(path)
    return AnnNetwork(model, meta, meta.T if meta.stage == "qc" else None)


def require_steps(network: Network, requested: Sequence[int]) -> list[int]:
    """The steps to read out; an error if one asked for lies beyond the network's T."""
    T = network.meta.T
    if network.meta.spiking and T is not None and not all(1 <= t <= T for t in requested):
        raise ConfigError(f"the network was converted for T = {T}; time steps must lie in 1..T, got {list(requested)}")
    return network.steps(requested)

"""A network to be exported as one graph, whatever its stage, and the outputs of a file that was made from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from spikedet.checkpoint import CheckpointMeta
from spikedet.checkpoint.metadata import Parent
from spikedet.common.digests import file_sha256
from spikedet.common.errors import ConfigError
from spikedet.config import parse_time_steps
from spikedet.config.export import ExportConfig
from spikedet.exports.metadata import ExportMeta, without_history
from spikedet.snn import SpikingNetwork


@dataclass(frozen=True)
class Outputs:
    """What an exported file gives for a batch at one time step.

    Attributes:
        decoded: ``[N, 4 + classes, A]`` as from ``decode_head``; None after non-maximum suppression.
        spikes: float64 ``[N]``, as ``Readings.spikes``; None where nothing spikes.
        detections: after non-maximum suppression: ``[K, 6]`` per image, xyxy in input pixels, score, label.
    """

    decoded: Tensor | None = None
    spikes: Tensor | None = None
    detections: list[Tensor] | None = None


Run = Callable[[Tensor], Mapping[int, Outputs]]
"""An exported file as a function of images ``[N, 3, S, S]`` in [0, 1]: outputs by time step."""


@dataclass(frozen=True)
class Subject:
    """A network to be exported.

    Attributes:
        network: its graph; of an ANN or a QC-ANN the one that it would be converted to, with folded weights.
        meta: of its checkpoint.
        config: what is asked for.
    """

    network: SpikingNetwork
    meta: CheckpointMeta
    config: ExportConfig

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the input."""
        return (self.meta.image_size, self.meta.image_size)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Time steps with outputs; empty without time. Raises ConfigError for one beyond T."""
        requested = parse_time_steps(self.config.t)
        if not self.meta.spiking:
            if requested or self.config.unroll:
                raise ConfigError(f"{self.config.checkpoint}: an ANN has no time steps; leave out --t and --unroll")
            return ()
        assert self.meta.T is not None
        if requested and requested[-1] > self.meta.T:
            raise ConfigError(f"--t {self.config.t}: the network was converted for T = {self.meta.T}")
        return requested or (self.meta.T,)

    @property
    def rounds_weights(self) -> bool:
        """Whether the file is another network than this one, though near."""
        return self.config.eight_bits or self.config.to == "fixed-point"

    @cached_property
    def file_meta(self) -> ExportMeta:
        """Metadata of the file; its parent is the checkpoint, without its folder, or None of a network in memory."""
        path = Path(self.config.checkpoint)
        parent = Parent(file=path.name, sha256=file_sha256(path), stage=self.meta.stage) if path.is_file() else None
        thresholds = {n.name: [float(f"{v:.9g}") for v in layer.theta.tolist()] for n, layer in self.network.spiking()}
        return ExportMeta(
            network=dataclasses.replace(without_history(self.meta), parent=parent),
            to=self.config.to,
            strides=tuple(float(stride) for stride in self.network.strides),
            steps=self.steps,
            wait=self.network.latency(0) if self.meta.spiking else 0,
            boxes=self.config.boxes,
            precision="int8" if self.config.eight_bits else "fp32",
            thresholds=thresholds if self.meta.stage != "ann" else {},
        )

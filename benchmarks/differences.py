"""How many spikes a backend decides otherwise than the dense float32 loop, each layer fed the loop's own input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikedet.config import Mode
from spikedet.snn import IMAGE, Node, SpikingConv, SpikingNetwork, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.layers import broadcast
from spikedet.snn.operations import SpikeOp
from spikedet.snn.packed_operations import combine
from spikedet.snn.packing import pack, unpack

NEAR = 1e-5
"""Distance from the threshold, in units of theta, within which rounding may decide."""


@dataclass(frozen=True)
class Difference:
    """Of one layer: decisions, those that differ, and neurons whose first difference is not a matter of rounding."""

    layer: str
    decisions: int
    differing: int
    far: int

    @property
    def share(self) -> float:
        """Of decisions that differ."""
        return self.differing / self.decisions

    def __add__(self, other: Difference) -> Difference:
        """Both together, under this one's name."""
        return Difference(
            self.layer,
            self.decisions + other.decisions,
            self.differing + other.differing,
            self.far + other.far,
        )


class _Recorder(TorchBackend):
    """Keeps the spikes of every layer and the potentials before each decision."""

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__(network)
        self.spikes: dict[str, Tensor] = {}
        self.before: dict[str, Tensor] = {}

    def fire(
        self, node: Node, layer: SpikingConv, state: Any, piece: Tensor | None, steps: int, tail: int
    ) -> tuple[Tensor, Tensor]:
        v = (
            self._potential(node, layer, piece)
            if piece is not None
            else state.drive.expand(steps, *state.drive.shape[1:])
        )
        u = state.neurons.u.clone()
        train, counts = super().fire(node, layer, state, piece, steps, tail)
        theta = broadcast(layer.theta)
        self.spikes[node.name] = (train / theta).round()
        before = []
        for current, fired in zip(v, self.spikes[node.name], strict=True):
            u = u + current
            before.append(u)
            u = u - theta * fired
        self.before[node.name] = torch.stack(before)
        return train, counts


@torch.no_grad()
def differences(network: SpikingNetwork, images: Tensor, T: int, mode: Mode) -> list[Difference]:
    """Layer by layer; plain IF without delay, layers with a constant input left out (they are computed alike)."""
    recorder, backend = _Recorder(network), NativeBackend(network, mode)
    for _ in simulate(network, images, [T], chunk=T, backend=recorder):
        pass
    bits: dict[str, Tensor] = {}
    found = []
    for node in network.nodes:
        if isinstance(node.module, SpikeOp):
            bits[node.name] = combine(
                node.module, [bits[name] for name in node.inputs], [backend.channels[name] for name in node.inputs]
            )
        elif isinstance(node.module, SpikingConv):
            expected = recorder.spikes[node.name]
            bits[node.name] = pack(expected, negative=False)
            if node.inputs[0] == IMAGE:
                continue
            packed, source = backend.layers[node.name], bits[node.inputs[0]]
            made = packed.window(packed.state(len(images), (source.shape[2], source.shape[3])), source, T)
            theta = node.module.theta
            wrong = unpack(made, torch.ones_like(theta), negative=False) != expected
            first = wrong & (wrong.cumsum(0) == 1)
            near = (recorder.before[node.name] - broadcast(theta)).abs() <= NEAR * broadcast(theta)
            found.append(Difference(node.name, wrong.numel(), int(wrong.sum()), int((first & ~near).sum())))
    return found

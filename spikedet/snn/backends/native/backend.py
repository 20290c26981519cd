"""The native backend: spikes as bits, event-driven and fused with the neurons; on the CPU.

Layers that read spikes give the same bits whatever the chunk, the batch and the number of threads. Dense convolutions
add up in another order: a neuron within rounding of its threshold may fire a step earlier or later.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from spikedet.common.errors import ConfigError
from spikedet.config import Mode
from spikedet.kernels.library import NativeUnavailable, call
from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.native.layers import PackedConv
from spikedet.snn.layers import NeuronState, Readout, SpikingConv
from spikedet.snn.network import Node, SpikingNetwork
from spikedet.snn.operations import SpikeOp
from spikedet.snn.packed_operations import combine, network_channels, why_not
from spikedet.snn.packing import Channels, place_counts

CHUNK = 20
"""Maps simulated together, steps times images. A neuron that fires does so again: the more steps, the more often its
weight row is found in the cache; the fewer maps, the shorter the lists of spikes."""

WIDEST: dict[Mode, float] = {"exact": 4, "fast": 8}
"""Bits of a channel beyond which a train is summed: where a dense convolution of the sums takes less time."""


class NativeBackend(Backend):
    """Event-driven simulation of a network on the CPU.

    Args:
        network: converted network.
        mode: ``exact`` (float32 weights) or ``fast`` (8-bit weights, integer sums; float32 potentials).

    Raises:
        NativeUnavailable: no compiler, weights on a GPU, or an operation that bits cannot express.
    """

    name = "native"

    def __init__(self, network: SpikingNetwork, mode: Mode = "exact") -> None:
        dense = call("has_dense")
        ways = "event-driven" + (" or dense 8-bit" if dense and mode == "fast" else "")
        about = f"{ways}, {'float32' if mode == 'exact' else 'int8'} weights, compiled for this processor"
        super().__init__(network, about)
        self.channels = supported_channels(network, mode)
        self.layers = {
            node.name: PackedConv(layer, self.channels.get(node.inputs[0]), mode) for node, layer in network.spiking()
        }

    def chunk(self, batch: int) -> int:
        return max(CHUNK // max(batch, 1), 4)

    def state(self, node: Node, layer: SpikingConv, batch: int, input_hw: tuple[int, int]) -> NeuronState:
        try:
            return self.layers[node.name].state(batch, input_hw)
        except ConfigError as error:
            raise ConfigError(f"{node.name}: {error}") from error

    def constant_state(self, node: Node, layer: SpikingConv, x: Tensor) -> NeuronState:
        return self.layers[node.name].constant_state(x)

    def again(self, node: Node, layer: SpikingConv, state: NeuronState) -> NeuronState:
        batch, height, width, _ = state.u.shape
        return dataclasses.replace(self.layers[node.name].initial_state(batch, (height, width)), drive=state.drive)

    def fire(
        self, node: Node, layer: SpikingConv, state: NeuronState, piece: Tensor | None, steps: int, tail: int
    ) -> tuple[Tensor, Tensor]:
        spikes = self.layers[node.name].run(state, piece, steps, tail)
        counts = torch.empty(spikes.shape[:2], dtype=torch.int64)
        call("count", spikes, counts.numel(), spikes.shape[2:].numel(), counts)
        return spikes, counts.double()

    def potential(self, node: Node, layer: SpikingConv, state: NeuronState) -> Tensor:
        return state.u.permute(0, 3, 1, 2)[:, : len(layer.theta)]

    def place_counts(self, node: Node, piece: Tensor, groups: Tensor) -> Tensor:
        return place_counts(piece, self.channels[node.name], groups)

    def combine(self, node: Node, module: SpikeOp, pieces: list[Tensor], memory: dict[str, Any]) -> Tensor:
        inputs = [self.channels[name] for name in node.inputs]
        return combine(module, pieces, inputs, memory, summed=self.channels[node.name].summed)

    def constant_piece(self, x: Tensor, steps: int) -> Tensor:
        raise AssertionError("joins of constant and spiking inputs are refused when the backend is made")

    def accumulate(self, total: Tensor | None, piece: Tensor) -> Tensor:
        if piece.is_floating_point():  # sums
            return piece.sum(0) if total is None else total.add_(piece.sum(0))
        steps, batch, height, width, count = piece.shape
        if total is None:
            total = torch.zeros(batch, height, width, 8 * count)
        piece = piece.contiguous()
        call("accumulate", piece, steps, batch * height * width, count, total)
        return total

    def mean(self, name: str, total: Tensor, t: int) -> Tensor:
        return self.channels[name].dense(total) / t


def supported_channels(network: SpikingNetwork, mode: Mode = "exact") -> dict[str, Channels]:
    """What the bits of every train mean, by node, as a mode simulates them.

    Raises:
        NativeUnavailable: something of the network has no form on packed spikes.
    """
    if any(p.device.type != "cpu" for p in network.parameters()):
        raise NativeUnavailable("the network's weights are not on the CPU")
    if any(p.dtype != torch.float32 for p in network.parameters()):
        raise NativeUnavailable("the network's weights are not float32")
    for node in network.nodes:
        if isinstance(node.module, Readout) and network.is_constant(node.inputs[0]):
            raise NativeUnavailable(f"{node.name} reads a constant")
        constant = [network.is_constant(name) for name in node.inputs]
        if isinstance(node.module, SpikeOp) and any(constant) and not all(constant):
            raise NativeUnavailable(f"{node.name} joins spikes and a constant")
    channels = network_channels(network, WIDEST[mode])
    for node in network.nodes:
        if isinstance(node.module, SpikeOp) and node.name in channels:
            reason = why_not(node.module, [channels[name] for name in node.inputs])
            if reason:
                raise NativeUnavailable(f"{node.name}: {reason}")
    return channels

"""The torch backend: dense convolutions with the steps of a chunk folded into the batch, on any device.

Exact mode computes in float32, sums in the order of torch's convolutions. Step by step (a chunk of 1) it is what every
other backend is held against. Fast mode convolves in float16 on a GPU and in bfloat16 on a CPU that multiplies it:
weights, spikes times theta, and the convolution's output are rounded; potentials stay float32. On other CPUs fast mode
is exact mode: bfloat16 would be slower.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from spikedet.common.precision import multiplies_bfloat16
from spikedet.config import Mode
from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.backend import float32 as float32
from spikedet.snn.backends.triton_neurons import fused_neurons
from spikedet.snn.layers import NeuronState, SpikingConv, broadcast
from spikedet.snn.network import Node, SpikingNetwork
from spikedet.snn.operations import LinearConv, MaxPool, SpikeOp
from spikedet.snn.packed_operations import pooled_units

CHUNK = 4
"""Steps folded into the batch: enough for large convolutions, few enough for potentials to stay small."""

GPU_CHUNK = 16
"""The same where a launch takes longer than the work of a small layer."""


def _lower(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32


class TorchBackend(Backend):
    """Dense simulation of a network on the device its weights are on.

    Args:
        network: converted network.
        mode: ``exact`` or ``fast``.
    """

    name = "torch"

    def __init__(self, network: SpikingNetwork, mode: Mode = "exact") -> None:
        self.device = network.device
        self.dtype = torch.float32 if mode == "exact" else _lower(self.device)
        self._neurons, fused = fused_neurons(self.device) if self.device.type == "cuda" else (None, "")
        about = f"dense convolutions in {str(self.dtype).removeprefix('torch.')} on {self.device}"
        about += f", {fused}" if fused else ""
        super().__init__(network, about)
        self._units = {name: unit.view(1, 1, -1, 1, 1).to(self.device) for name, unit in pooled_units(network).items()}
        self._weights = {node.name: self._prepared(layer) for node, layer in network.spiking()}

    def _prepared(self, layer: SpikingConv) -> tuple[Tensor, Tensor] | None:
        """Weights and bias converted once; None where the layer's own are used."""
        if self.dtype == torch.float32:
            return None
        weight = layer.weight.detach().to(self.dtype).contiguous(memory_format=torch.channels_last)
        return weight, layer.bias.detach().to(self.dtype)

    def chunk(self, batch: int) -> int:
        return CHUNK if self.device.type == "cpu" else GPU_CHUNK

    def _potential(self, node: Node, layer: SpikingConv, piece: Tensor) -> Tensor:
        prepared = self._weights[node.name]
        if prepared is None:
            with float32():
                return layer.potential(piece)
        x = piece.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return layer.convolved(x, *prepared).unflatten(0, piece.shape[:2]).float()

    def state(self, node: Node, layer: SpikingConv, batch: int, input_hw: tuple[int, int]) -> NeuronState:
        return layer.initial_state(layer.output_shape(batch, *input_hw))

    def constant_state(self, node: Node, layer: SpikingConv, x: Tensor) -> NeuronState:
        with float32():
            drive = layer.potential(x.unsqueeze(0))
        return dataclasses.replace(layer.initial_state(drive.shape[1:]), drive=drive)

    def again(self, node: Node, layer: SpikingConv, state: NeuronState) -> NeuronState:
        return dataclasses.replace(layer.initial_state(state.u.shape), drive=state.drive)

    def fire(
        self, node: Node, layer: SpikingConv, state: NeuronState, piece: Tensor | None, steps: int, tail: int
    ) -> tuple[Tensor, Tensor]:
        shape = state.u.shape
        if piece is not None:
            v = self._potential(node, layer, piece)
        else:
            v = state.drive if state.drive is not None else state.u.new_zeros((1, *shape))
        if self._neurons is not None and layer.neuron != "clif":
            train = self._fused(layer, state, v, steps, tail)
        else:
            train = self._plain(layer, state, v.expand(steps, *shape), tail)
        return train, (train != 0).flatten(2).sum(2).double()

    def _plain(self, layer: SpikingConv, state: NeuronState, v: Tensor, tail: int) -> Tensor:
        spikes = layer.run(v, state)
        if tail > 0:
            zeros = state.u.new_zeros((1, *state.u.shape)).expand(tail, *state.u.shape)
            spikes = torch.cat([spikes, layer.run(zeros, state)])
        return spikes.mul_(broadcast(layer.theta)).to(self.dtype)

    def _fused(self, layer: SpikingConv, state: NeuronState, v: Tensor, steps: int, tail: int) -> Tensor:
        assert self._neurons is not None
        silent = layer.silent_steps(state.step, steps + tail)
        state.step += steps + tail
        return self._neurons(
            v.contiguous(), state.u, state.count, layer.theta, layer.lower, steps, silent, tail, self.dtype
        )

    def potential(self, node: Node, layer: SpikingConv, state: NeuronState) -> Tensor:
        return state.u

    def place_counts(self, node: Node, piece: Tensor, groups: Tensor) -> Tensor:
        fired, count = piece != 0, int(groups.max()) + 1
        groups = groups.to(fired.device)
        return torch.stack([fired[:, :, groups == group].sum(2) for group in range(count)]).cpu()

    def combine(self, node: Node, module: SpikeOp, pieces: list[Tensor], memory: dict[str, Any]) -> Tensor:
        if isinstance(module, MaxPool):
            return self._pool(node, module, pieces[0], memory)
        if isinstance(module, LinearConv):
            with float32():
                return module([piece.float() for piece in pieces]).to(self.dtype)
        return module(pieces)

    def _pool(self, node: Node, module: MaxPool, piece: Tensor, memory: dict[str, Any]) -> Tensor:
        """Counts spikes instead of adding up what they are worth, so that nothing is rounded."""
        unit = self._units.get(node.name)
        counts = piece.float() if unit is None else (piece.float() / unit).round()
        if not memory:
            memory["state"] = module.initial_state(counts)
        pooled = module.advance(counts, memory["state"])
        return (pooled if unit is None else pooled * unit).to(self.dtype)

    def constant_piece(self, x: Tensor, steps: int) -> Tensor:
        return x.to(self.dtype).expand(steps, *x.shape)

    def accumulate(self, total: Tensor | None, piece: Tensor) -> Tensor:
        part = piece.float().sum(0)
        return part if total is None else total + part

    def mean(self, name: str, total: Tensor, t: int) -> Tensor:
        return total / t

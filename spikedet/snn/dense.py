"""The torch backend: dense convolutions with the steps of a chunk folded into the batch, on any device.

Exact mode computes in float32 and is what every other backend is held against. Fast mode convolves in bfloat16 (float16
on a GPU): weights, spikes times theta, and the convolution's output are rounded; potentials stay float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.config import Mode
from spikedet.snn.backend import Backend
from spikedet.snn.layers import NeuronState, Readout, SpikeOp, SpikingConv, broadcast
from spikedet.snn.network import Node, SpikingNetwork

CHUNK = 4
"""Steps folded into the batch: enough for large convolutions, few enough for potentials to stay small."""


@dataclass
class _State:
    neurons: NeuronState
    drive: Tensor | None = None
    """Potential ``[1, N, C, H, W]`` of a constant input."""


class TorchBackend(Backend):
    """Dense simulation of a network on the device its weights are on.

    Args:
        network: converted network.
        mode: ``exact`` or ``fast``.
    """

    name = "torch"

    def __init__(self, network: SpikingNetwork, mode: Mode = "exact") -> None:
        self.device = next((p.device for p in network.parameters()), torch.device("cpu"))
        self.dtype = (
            torch.float32 if mode == "exact" else torch.float16 if self.device.type == "cuda" else torch.bfloat16
        )
        about = f"dense convolutions in {str(self.dtype).removeprefix('torch.')} on {self.device}"
        super().__init__(network, about)
        self._weights = {node.name: self._prepared(layer) for node, layer in network.spiking()}

    def _prepared(self, layer: SpikingConv) -> tuple[Tensor, Tensor] | None:
        """Weights and bias converted once; None where the layer's own are used."""
        if self.dtype == torch.float32:
            return None
        weight = layer.weight.detach().to(self.dtype).contiguous(memory_format=torch.channels_last)
        return weight, layer.bias.detach().to(self.dtype)

    def chunk(self, batch: int) -> int:
        return CHUNK

    def images(self, images: Tensor) -> Tensor:
        return images.to(self.device)

    def _potential(self, node: Node, layer: SpikingConv, piece: Tensor) -> Tensor:
        prepared = self._weights[node.name]
        if prepared is None:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                return layer.potential(piece)
        weight, bias = prepared
        x = piece.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        out = F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return out.unflatten(0, piece.shape[:2]).float()

    def state(self, node: Node, layer: SpikingConv, piece: Tensor) -> _State:
        shape = layer.output_shape(piece.shape[1], piece.shape[-2], piece.shape[-1])
        return _State(layer.initial_state(shape))

    def constant_state(self, node: Node, layer: SpikingConv, x: Tensor) -> _State:
        drive = layer.potential(x.unsqueeze(0))
        return _State(layer.initial_state(drive.shape[1:]), drive)

    def fire(
        self, node: Node, layer: SpikingConv, state: _State, piece: Tensor | None, steps: int, tail: int
    ) -> tuple[Tensor, Tensor]:
        shape = state.neurons.u.shape
        if piece is not None:
            v = self._potential(node, layer, piece)
        else:
            drive = state.drive if state.drive is not None else state.neurons.u.new_zeros((1, *shape))
            v = drive.expand(steps, *shape)
        spikes = layer.run(v, state.neurons)
        if tail > 0:
            zeros = state.neurons.u.new_zeros((1, *shape)).expand(tail, *shape)
            spikes = torch.cat([spikes, layer.run(zeros, state.neurons)])
        counts = spikes.abs().flatten(2).sum(2).double().cpu()
        return (spikes * broadcast(layer.theta)).to(self.dtype), counts

    def combine(self, node: Node, module: SpikeOp, pieces: list[Tensor]) -> Tensor:
        made: Tensor = module(pieces)
        return made

    def constant_piece(self, x: Tensor, steps: int) -> Tensor:
        return x.to(self.dtype).expand(steps, *x.shape)

    def accumulate(self, node: Node, module: Readout, total: Tensor | None, piece: Tensor) -> Tensor:
        part = piece.float().sum(0)
        return part if total is None else total + part

    def read(self, node: Node, module: Readout, total: Tensor, t: int) -> Tensor:
        logits: Tensor = module(total / t)
        return logits

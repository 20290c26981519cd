"""What every layer sees and should say on the calibration images, in O(L): each train and activation computed once.

Two networks run side by side, layer by layer: the reference (the QC-ANN, through the copied weights) and the network
being calibrated, whose layers already done feed the ones to come. Both keep only what a later layer still reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikedet.calibration.store import ByteStore
from spikedet.kernels.library import NativeUnavailable, available
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.backends.native.backend import supported_channels
from spikedet.snn.backends.native.layers import PackedConv
from spikedet.snn.layers import broadcast
from spikedet.snn.network import layer_activation
from spikedet.snn.operations import SpikeOp
from spikedet.snn.packed_operations import combine
from spikedet.snn.packing import Channels, layer_channels, pack, unpack

Indices = Sequence[int]
Region = tuple[slice, slice]


class Observer:
    """Inputs and targets of each layer.

    Args:
        reference: copied weights; read as the QC-ANN with ``T`` levels.
        network: the network being calibrated.
        images: ``[n, 3, H, W]``, the calibration images.
        store: where trains and levels are kept.
    """

    def __init__(self, reference: SpikingNetwork, network: SpikingNetwork, images: Tensor, store: ByteStore) -> None:
        self.reference, self.network, self.images, self.store = reference, network, images, store
        self.T = network.T
        self._nodes = {node.name: node for node in network.nodes}
        self._reference_nodes = {node.name: node for node in reference.nodes}
        self._last = last_readers(network)
        self.map_hw = {name: (h, w) for name, (_, h, w) in network.shapes((images.shape[-2], images.shape[-1])).items()}
        """Height and width of the map that every node sends."""
        self.channels: dict[str, Channels] | None = None
        """What the bits of each train mean, where layers run on bits; None where they run on dense trains."""
        if available():
            with suppress(NativeUnavailable):
                self.channels = supported_channels(network)

    # --- what a layer reads --------------------------------------------------------------------------------------

    @torch.no_grad()
    def train(self, name: str, indices: Indices, window: Region | None = None) -> Tensor:
        """Spike train that node ``name`` sends, ``[T, b, C, H, W]``; one step if it is constant over time.

        ``window`` (row and column slices) cuts the map; a spiking layer's train is cut before it is unpacked.
        """
        rows, columns = window or (slice(None), slice(None))
        if name == IMAGE:
            return self.images[list(indices)][None, ..., rows, columns]
        module = self._nodes[name].module
        if isinstance(module, SpikeOp):
            parts = [self.train(source, indices) for source in self._nodes[name].inputs]
            steps = max(len(part) for part in parts)
            joined: Tensor = module([part.expand(steps, *part.shape[1:]) for part in parts])
            return joined[..., rows, columns]
        assert isinstance(module, SpikingConv)
        return unpack(self.bits(name, indices, window), module.theta, negative=module.negative)

    @torch.no_grad()
    def bits(self, name: str, indices: Indices, window: Region | None = None) -> Tensor:
        """The same train as bits ``[T, b, H, W, bytes]`` or sums, meant as ``channels`` says."""
        rows, columns = window or (slice(None), slice(None))
        module = self._nodes[name].module
        if isinstance(module, SpikeOp):
            assert self.channels is not None
            sources = self._nodes[name].inputs
            inputs = [self.channels[source] for source in sources]
            trains = [self.bits(source, indices) for source in sources]
            joined = combine(module, trains, inputs, summed=self.channels[name].summed)
            return joined[:, :, rows, columns]
        return torch.from_numpy(self.store[f"spikes {name}"][list(indices)][:, :, rows, columns]).movedim(1, 0)

    @torch.no_grad()
    def activation(self, name: str, indices: Indices) -> Tensor:
        """The QC-ANN's activation that node ``name`` sends, ``[b, C, H, W]``."""
        if name == IMAGE:
            return self.images[list(indices)]
        node = self._reference_nodes[name]
        if isinstance(node.module, SpikeOp):
            joined: Tensor = node.module([self.activation(source, indices).unsqueeze(0) for source in node.inputs])
            return joined[0]
        assert isinstance(node.module, SpikingConv)
        stored = np.asarray(self.store[f"levels {name}"][list(indices)])
        levels = torch.from_numpy(stored).float() - self._lowest(node.module)
        return levels * broadcast(node.module.theta) / self.T

    def _lowest(self, layer: SpikingConv) -> int:
        """What is added to a layer's levels so that none is negative."""
        return self.T if layer.neuron == "asymmetric" else 0

    @torch.no_grad()
    def target(self, node: Node, indices: Indices) -> Tensor:
        """What the QC-ANN says at this layer: its activation, or a read-out's logits."""
        kept = f"levels {node.name}" in self.store.names()
        return self.activation(node.name, indices) if kept else self._compute(node, indices)

    def _compute(self, node: Node, indices: Indices) -> Tensor:
        source = self.activation(node.inputs[0], indices)
        module = self._reference_nodes[node.name].module
        if isinstance(module, SpikingConv):
            return layer_activation(module, module.potential(source.unsqueeze(0))[0], self.T)
        assert isinstance(module, Readout)
        return module(source)

    # --- what a layer leaves behind ------------------------------------------------------------------------------

    @torch.no_grad()
    def observe(self, node: Node, batches: Iterable[Indices]) -> None:
        """Compute and keep the QC-ANN's levels of a spiking layer."""
        layer = self._reference_nodes[node.name].module
        assert isinstance(layer, SpikingConv)
        for indices in batches:
            levels = torch.round(self._compute(node, indices) * self.T / broadcast(layer.theta)) + self._lowest(layer)
            self._keep(f"levels {node.name}", indices, levels.to(torch.uint8).numpy())

    @torch.no_grad()
    def record(self, node: Node, batches: Iterable[Indices]) -> None:
        """Simulate a finished layer on every image, keep its spikes, and drop what nobody reads any more."""
        layer = node.module
        assert isinstance(layer, SpikingConv)
        for indices in batches:
            spikes = self.simulate(node, layer, indices).movedim(0, 1)
            self._keep(f"spikes {node.name}", indices, spikes.numpy())
        self.release(node)

    def simulate(self, node: Node, layer: SpikingConv, indices: Indices) -> Tensor:
        """Spikes of a layer from its recorded input, as bits ``[T, b, H, W, bytes]``."""
        (source,) = node.inputs
        if self.channels is not None:
            packed = PackedConv(layer, self.channels.get(source), "exact")
            if self.network.is_constant(source):
                return packed.window(packed.constant_state(self.train(source, indices)[0]), None, self.T)
            bits = self.bits(source, indices)
            return packed.window(packed.state(len(indices), (bits.shape[2], bits.shape[3])), bits, self.T)
        v = layer.potential(self.train(source, indices))
        v = v.expand(self.T, *v.shape[1:])
        state = layer.initial_state(v.shape[1:])
        spikes = layer.run(v, state)
        if layer.delay:
            spikes = torch.cat([spikes, layer.run(v.new_zeros((layer.delay, *v.shape[1:])), state)])
        return pack(spikes, negative=layer.negative)

    def rates(self, layer: SpikingConv, spikes: Tensor, early: float = 0.0) -> list[Tensor]:
        """Mean spikes in activation units ``[b, C, H, W]`` of bits from ``simulate``, in every one of ``windows``."""
        parts = [spikes[:steps] for steps in windows(layer, self.T, early)]
        return [unpack(part, layer.theta, negative=layer.negative).mean(0) for part in parts]

    def release(self, node: Node) -> None:
        """Say that a node is done; what it was the last to read is dropped."""
        for name, reader in self._last.items():
            if reader == node.name:
                self.store.drop(f"levels {name}")
                self.store.drop(f"spikes {name}")

    def _keep(self, name: str, indices: Indices, rows: npt.NDArray[np.uint8]) -> None:
        if name not in self.store.names():
            self.store.create(name, (len(self.images), *rows.shape[1:]))
        self.store[name][list(indices)] = rows


def layer_of(node: Node) -> SpikingConv | Readout:
    """The layer of a node that is calibrated."""
    assert isinstance(node.module, (SpikingConv, Readout))
    return node.module


def last_readers(network: SpikingNetwork) -> dict[str, str]:
    """For each spiking node, the last layer that reads its train, itself or through linear operations."""
    sources: dict[str, set[str]] = {IMAGE: set()}  # the spiking nodes whose trains are in what a node sends
    last: dict[str, str] = {}
    for node in network.nodes:
        read = set[str]().union(*(sources[name] for name in node.inputs))
        sources[node.name] = {node.name} if isinstance(node.module, SpikingConv) else read
        if not isinstance(node.module, SpikeOp):
            last |= dict.fromkeys(read, node.name)
    return last


def peak_bytes(network: SpikingNetwork, shapes: Mapping[str, tuple[int, ...]], images: int) -> int:
    """Largest number of bytes the store holds at once, for an estimate before the run.

    Args:
        network: converted network.
        shapes: output ``[C, H, W]`` of every spiking node.
        images: number of calibration images.
    """
    last, size = last_readers(network), {}
    held = peak = 0
    for node, layer in network.spiking():
        channels, height, width = shapes[node.name]
        per_place = network.T * layer_channels(layer.theta, layer.negative).bytes
        size[node.name] = images * height * width * (per_place + channels)  # and one byte for the QC-ANN's level
    for node in network.nodes:
        held += size.get(node.name, 0)
        peak = max(peak, held)
        held -= sum(size[name] for name, reader in last.items() if reader == node.name)
    return peak


def windows(module: SpikingConv | Readout, T: int, early: float) -> list[int]:
    """The numbers of steps after which a layer's rate is evaluated: T, and with ``early`` half of it.

    A delayed layer has no half: it would end before inputs do that it has to see.
    """
    halved = isinstance(module, SpikingConv) and early > 0 and not module.delay and T > 1
    return [T, T // 2] if halved else [T]

"""A spiking network as ONNX, layer by layer: each layer's whole spike train is computed before the next layer's.

A node's train is indexed by its own output window, so that branches with other firing delays meet without buffers.
Trains are ``[K N, C, H, W]``, step after step, so that operations between layers see a large batch. What is constant
over time is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from spikedet.exports.onnx_graph import OnnxGraph
from spikedet.exports.onnx_layers import convolution, operation
from spikedet.exports.onnx_neurons import fire
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import broadcast
from spikedet.snn.operations import MaxPool
from spikedet.snn.packed_operations import pooled_units


@dataclass
class SpikingGraph:
    """A spiking network while it is written.

    Attributes:
        graph: its input is ``IMAGE``.
        network: the network.
        image_hw: height and width of the images.
        steps: time steps that are read out.
        unroll: whether steps are written one after the other.
    """

    graph: OnnxGraph
    network: SpikingNetwork
    image_hw: tuple[int, int]
    steps: tuple[int, ...]
    unroll: bool = False
    maps: dict[str, dict[int, str]] = field(default_factory=dict)
    fired: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        delayed = any(layer.delay for _, layer in self.network.spiking())
        self.window = self.network.T if delayed else self.steps[-1]  # what a delayed layer adds up is all of it
        self.shapes = self.network.shapes(self.image_hw)
        self._units = pooled_units(self.network)
        self._values = {IMAGE: IMAGE}

    def write(self) -> None:
        """Append all layers; ``maps`` has then the value of every read-out by time step, ``fired`` spikes by layer."""
        for node in self.network.nodes:
            if isinstance(node.module, SpikingConv):
                self._values[node.name] = self._spiking(node, node.module)
            elif isinstance(node.module, Readout):
                self.maps[node.name] = {t: self._read(node, t) for t in self.steps}
            elif isinstance(node.module, MaxPool) and not self.network.is_constant(node.name):
                self._values[node.name] = self._pool(node, node.module)
            else:
                constant = self.network.is_constant(node.name)
                inputs = [self._values[name] if constant else self._train(name) for name in node.inputs]
                self._values[node.name] = operation(self.graph, node, inputs)

    def spikes(self, t: int) -> str:
        """Spikes ``[N]`` of all layers in the first t steps of their windows, int64."""
        if not self.fired:  # no layer has neurons
            nothing = self.graph.op("Mul", self.graph.sum(IMAGE, [1, 2, 3]), self.graph.constant(0.0))
            return self.graph.op("Cast", nothing, to=TensorProto.INT64)
        total = self.fired[0]
        for more in self.fired[1:]:
            total = self.graph.op("Add", total, more)
        return self.graph.sum(self.graph.slice(total, 0, t, 0), [0])

    def _spiking(self, node: Node, layer: SpikingConv) -> str:
        source = node.inputs[0]
        constant = self.network.is_constant(source)
        v = convolution(self.graph, node, self._values[source])
        v, how = v if constant else self._by_step(node.name, v), {"constant": constant, "unroll": self.unroll}
        sent, fired = fire(self.graph, layer, v, self.window, self.shapes[node.name], **how, name=node.name)
        self.fired.append(fired)
        return sent

    def _read(self, node: Node, t: int) -> str:
        steps = self._by_step(node.inputs[0], self._train(node.inputs[0]))
        total = self.graph.sum(self.graph.slice(steps, 0, t, 0), [0])
        return convolution(self.graph, node, self.graph.op("Div", total, self.graph.constant(float(t))))

    def _pool(self, node: Node, module: MaxPool) -> str:
        """A maximum over spikes by its rule, see ``spikedet.snn.operations``; spikes are counted where they can be."""
        graph, source = self.graph, node.inputs[0]
        train = self._train(source)
        if module.rule == "or":
            return operation(graph, node, [train])
        worth, unit = self._units.get(node.name), None
        if worth is not None:
            unit = graph.constant(broadcast(worth), "unit")
            train = graph.op("Round", graph.op("Div", train, unit))
        axis = graph.constant(np.array(0, np.int64), "axis")
        sums = self._joined(source, graph.op("CumSum", self._by_step(source, train), axis))
        best = self._by_step(node.name, operation(graph, node, [sums]))
        padding = graph.constant(np.array([1] + [0] * 9, np.int64), "pads")
        before = graph.op("Pad", graph.slice(best, 0, self.window - 1, 0), padding)
        made = self._joined(node.name, graph.op("Sub", best, before))
        return made if unit is None else graph.op("Mul", made, unit)

    def _train(self, name: str) -> str:
        """A node's train; what is constant is repeated."""
        value = self._values[name]
        if not self.network.is_constant(name):
            return value
        return self.graph.op("Tile", value, self.graph.constant(np.array([self.window, 1, 1, 1], np.int64), "repeats"))

    def _by_step(self, name: str, value: str) -> str:
        """``[K N, C, H, W]`` -> ``[K, N, C, H, W]``."""
        return self.graph.reshape(value, [self.window, -1, *self.shapes[name]])

    def _joined(self, name: str, value: str) -> str:
        """``[K, N, C, H, W]`` -> ``[K N, C, H, W]``."""
        return self.graph.reshape(value, [-1, *self.shapes[name]])

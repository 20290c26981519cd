"""The QC-ANN in 8 bits, as quantize and dequantize operators (QDQ) around float ones, which engines fuse.

An activation of the QC-ANN is theta q / T with a whole q from 0 to T. Only q is stored: with ``unit`` the activation of
q = 1 by channel, a layer with thetas theta becomes, in units of its own levels,

    q = clip(round(sum W unit T / theta q_in + b T / theta), 0, T)

so that every tensor has one scale, whatever the thetas of its channels are. Weights are int8 with a scale for each
output channel, biases int32, activations uint8 (with a zero point of 128 where they have a sign): what onnxruntime and
OpenVINO compute in integers. What has no levels of its own (a mean of a window, a sum) is rounded to 8 bits, in units
that hold its largest value. Ties round to even, not up; with weights of 8 bits there are none to speak of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spikedet.common.errors import ExportError
from spikedet.exports.onnx_graph import OnnxGraph
from spikedet.exports.onnx_layers import geometry, operation
from spikedet.exports.onnx_static import levels
from spikedet.exports.rounding import rounded_weight
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import broadcast
from spikedet.snn.operations import Add, AvgPool, Concat, MaxPool, Slice, Upsample, ZeroPad

UNSIGNED, SIGNED = 255, 127
"""Largest integers of 8 bits."""
MOST_BIAS, LEAST_SCALE = 2.0**30, 1e-30
"""Biases fit into 32 bits, with room for the sum; scales are normal numbers."""


@dataclass(frozen=True)
class Levels:
    """A quantized tensor.

    Attributes:
        value: name of the integers.
        scale: the one that they are dequantized by.
        unit: ``[C]``, activation of a dequantized 1.
        most: largest magnitude of the integers.
        signed: whether they can be negative.
    """

    value: str
    scale: float
    unit: Tensor
    most: int
    signed: bool = False


@dataclass
class EightBits:
    """A QC-ANN while it is written.

    Attributes:
        graph: its input is ``IMAGE``.
        network: with the weights of the QC-ANN.
        T: its levels.
        unclipped: linear layers have no levels in the QC-ANN; here they have as many as 8 bits hold, up to their theta.
    """

    graph: OnnxGraph
    network: SpikingNetwork
    T: int
    unclipped: bool = False

    def write(self) -> dict[str, str]:
        """Append all layers; returns the values of the read-outs by name of the layer. Raises ExportError."""
        if UNSIGNED < self.T:
            raise ExportError(f"T = {self.T}: 8 bits hold at most {UNSIGNED} levels; use --to onnx")
        self._levels = {IMAGE: self._quantized(IMAGE, 1 / 255, torch.ones(3), 255, False)}
        maps = {}
        for node in self.network.nodes:
            inputs = [self._levels[name] for name in node.inputs]
            if isinstance(node.module, Readout):
                maps[node.name] = self._convolution(node, inputs[0], torch.ones(len(node.module.bias)))
            else:
                self._levels[node.name] = self._layer(node, inputs)
        return maps

    def _layer(self, node: Node, inputs: list[Levels]) -> Levels:
        module = node.module
        match module:
            case SpikingConv():
                return self._neurons(node, module, inputs[0])
            case Add():
                return self._sum(node, inputs)
            case Concat():
                return self._concatenated(node, inputs)
            case AvgPool():
                (x,) = inputs
                mean = operation(self.graph, node, [self._float(x)])
                most = SIGNED if x.signed else UNSIGNED
                return self._quantized(mean, x.scale * x.most / most, x.unit, most, x.signed)
            case MaxPool() | Upsample() | ZeroPad() | Slice():
                (x,) = inputs
                moved = operation(self.graph, node, [self._float(x)])
                unit = x.unit[module.start : module.stop] if isinstance(module, Slice) else x.unit
                return self._quantized(moved, x.scale, unit, x.most, x.signed)
        raise ExportError(
            f"{node.name}: {type(module).__name__} has no range of its own, so none in 8 bits; use --to onnx"
        )

    def _neurons(self, node: Node, layer: SpikingConv, x: Levels) -> Levels:
        """A layer with activation; its integers are its levels."""
        T = SIGNED if layer.linear and self.unclipped else self.T
        if layer.slope and SIGNED < T:
            raise ExportError(f"{node.name}: 8 bits with a sign hold at most {SIGNED} levels, T is {T}")
        v = self._convolution(node, x, T / layer.theta)
        unit, signed = layer.theta / T, bool(layer.slope)
        if layer.slope in (0, 1):  # whole numbers come next to the convolution, as engines fuse the two
            v = self._float(self._quantized(v, 1.0, unit, UNSIGNED, signed))
        if signed:
            v = levels(self.graph, layer, v, T)
        else:
            v = self.graph.op("Clip", v, self.graph.constant(0.0), self.graph.constant(float(T)))
        return self._quantized(v, 1.0, unit, T, signed)

    def _convolution(self, node: Node, x: Levels, gain: Tensor) -> str:
        """W x + b times ``gain`` ``[C]``, with rounded weights and bias."""
        module, graph = node.module, self.graph
        assert isinstance(module, (SpikingConv, Readout))
        folded = module.weight.detach().double() * module.by_input(x.unit.double()) * gain.double().view(-1, 1, 1, 1)
        bias = module.bias.detach().double() * gain.double() / x.scale
        weight, scale = rounded_weight(folded, (bias.abs() / MOST_BIAS).clamp_min(LEAST_SCALE))
        bias = (bias / scale).round()
        made = [
            self._parameter(weight.to(torch.int8), scale, f"{node.name}.weight"),
            self._parameter(bias.to(torch.int32), scale * x.scale, f"{node.name}.bias"),
        ]
        return graph.op("Conv", self._float(x), *made, name=node.name, **geometry(module))

    def _parameter(self, values: Tensor, scale: Tensor, name: str) -> str:
        zero = torch.zeros(len(scale), dtype=values.dtype)
        inputs = (values, scale.float(), zero)
        return self.graph.op("DequantizeLinear", *(self.graph.constant(v, name) for v in inputs), name=name, axis=0)

    def _sum(self, node: Node, inputs: Sequence[Levels]) -> Levels:
        """Terms in units of the sum, which hold its largest value."""
        signed = any(x.signed for x in inputs)
        most = SIGNED if signed else UNSIGNED
        largest = [x.unit * x.scale * x.most for x in inputs]
        unit = sum(largest[1:], largest[0]) / most
        terms = [
            self.graph.op(
                "Mul", self._float(x), self.graph.constant(broadcast((x.unit / unit).float())), name=node.name
            )
            for x in inputs
        ]
        return self._quantized(operation(self.graph, node, terms), 1.0, unit, most, signed)

    def _concatenated(self, node: Node, inputs: Sequence[Levels]) -> Levels:
        """Integers side by side. Scales that differ move into the units, so that there is one."""
        signed = any(x.signed for x in inputs)
        parts = [self._signed(x) if signed else x for x in inputs]
        unit, most = torch.cat([x.unit * x.scale for x in parts]), max(x.most for x in parts)
        joined = self.graph.op("Concat", *(x.value for x in parts), name=node.name, axis=1)
        return Levels(joined, 1.0, unit, most, signed)

    def _signed(self, x: Levels) -> Levels:
        """The same with a sign, in larger steps where its integers are too large for that."""
        if x.signed:
            return x
        most = min(x.most, SIGNED)
        return self._quantized(self._float(x), x.scale * x.most / most, x.unit, most, True)

    def _float(self, x: Levels) -> str:
        return self.graph.op("DequantizeLinear", x.value, *self._scale(x.scale, x.signed))

    def _quantized(self, value: str, scale: float, unit: Tensor, most: int, signed: bool) -> Levels:
        made = self.graph.op("QuantizeLinear", value, *self._scale(scale, signed))
        return Levels(made, scale, unit, most, signed)

    def _scale(self, scale: float, signed: bool) -> tuple[str, str]:
        zero = np.array(128 if signed else 0, np.uint8)
        return self.graph.constant(scale, "scale"), self.graph.constant(zero, "zero")

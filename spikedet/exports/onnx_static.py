"""ANN and QC-ANN as ONNX: the clip is a Clip or Min, g's floor and clip are operators (see spikedet.quantization)."""

from __future__ import annotations

from spikedet.exports.onnx_graph import OnnxGraph
from spikedet.exports.onnx_layers import convolution, operation
from spikedet.snn import IMAGE, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import broadcast


def write_static(graph: OnnxGraph, network: SpikingNetwork, T: int | None) -> dict[str, str]:
    """Append a network without time; returns the values of the read-outs by name of the layer.

    Args:
        graph: its input is ``IMAGE``.
        network: with the weights of the ANN.
        T: quantization levels of a QC-ANN, None for the clip ANN.
    """
    values = {IMAGE: IMAGE}
    for node in network.nodes:
        inputs = [values[name] for name in node.inputs]
        if isinstance(node.module, SpikingConv):
            potential = convolution(graph, node, inputs[0])
            made = _clip(graph, node.module, potential) if T is None else _quantized(graph, node.module, potential, T)
        elif isinstance(node.module, Readout):
            made = convolution(graph, node, inputs[0])
        else:
            made = operation(graph, node, inputs)
        values[node.name] = made
    return values


def _clip(graph: OnnxGraph, layer: SpikingConv, x: str) -> str:
    """sigma_theta of potentials ``[N, C, H, W]``; as torch computes it, operation by operation."""
    theta = graph.constant(broadcast(layer.theta), "theta")
    if not layer.slope:
        return graph.op("Min", graph.op("Relu", x), theta)
    if layer.slope != 1:
        x = graph.op("LeakyRelu", x, alpha=layer.slope)
    return graph.op("Max", graph.op("Min", x, theta), graph.constant(broadcast(-layer.theta), "theta"))


def _quantized(graph: OnnxGraph, layer: SpikingConv, x: str, T: int) -> str:
    """g, with T levels, likewise."""
    scale = graph.constant(broadcast(T / layer.theta), "scale")
    return graph.op("Div", levels(graph, layer, graph.op("Mul", x, scale), T), scale)


def levels(graph: OnnxGraph, layer: SpikingConv, scaled: str, T: int) -> str:
    """Levels of g, whole numbers from 0 or -T to T, of potentials times T / theta."""
    rounded = graph.op("Floor", graph.op("Add", scaled, graph.constant(0.5)))
    if layer.slope:
        rounded = graph.op(
            "Where", graph.op("Less", scaled, graph.constant(0.0)), _below(graph, layer, scaled, T), rounded
        )
    limits = graph.constant(float(-T if layer.slope else 0)), graph.constant(float(T))
    return graph.op("Clip", rounded, *limits)


def _below(graph: OnnxGraph, layer: SpikingConv, scaled: str, T: int) -> str:
    """Levels below zero: -max(min(floor(-a (x T / theta + 1/2)), floor(-a (x / theta + 1/2)) + T - 1), 0)."""
    half, slope = graph.constant(0.5), graph.constant(-layer.slope)
    first = graph.op("Add", graph.op("Div", scaled, graph.constant(float(T))), half)
    most = graph.op("Add", graph.op("Floor", graph.op("Mul", first, slope)), graph.constant(float(T - 1)))
    fired = graph.op("Floor", graph.op("Mul", graph.op("Add", scaled, half), slope))
    return graph.op("Neg", graph.op("Relu", graph.op("Min", fired, most)))

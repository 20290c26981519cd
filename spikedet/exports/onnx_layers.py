"""Layers that are the same in every network as ONNX operators: convolutions, pooling and what moves maps around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from spikedet.common.errors import ExportError
from spikedet.exports.onnx_graph import OnnxGraph
from spikedet.snn import Node
from spikedet.snn.layers import Convolution, pair
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample, ZeroPad, window


def convolution(graph: OnnxGraph, node: Node, x: str) -> str:
    """The convolution of a layer, without its neurons."""
    module = node.module
    assert isinstance(module, Convolution)
    weight = graph.constant(module.weight, f"{node.name}.weight")
    bias = graph.constant(module.bias, f"{node.name}.bias")
    return graph.op("Conv", x, weight, bias, name=node.name, **geometry(module))


def geometry(module: Convolution) -> dict[str, Any]:
    """Attributes of a Conv."""
    return {
        "kernel_shape": list(module.weight.shape[2:]),
        "strides": pair(module.stride),
        "pads": 2 * pair(module.padding),
        "dilations": pair(module.dilation),
        "group": module.groups,
    }


def operation(graph: OnnxGraph, node: Node, inputs: Sequence[str]) -> str:
    """A linear operation on maps ``[N, C, H, W]``, or the maximum of each window of one map.

    Raises:
        ExportError: it has no ONNX operator.
    """
    module, name = node.module, node.name
    match module:
        case Upsample():
            scales = graph.constant([1.0, 1.0, float(module.factor), float(module.factor)], "scales")
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return graph.op("Resize", inputs[0], "", scales, name=name, **how)
        case Concat():
            return graph.op("Concat", *inputs, name=name, axis=1)
        case Slice():
            return graph.slice(inputs[0], module.start, module.stop, 1)
        case Add():
            total = inputs[0]
            for other in inputs[1:]:
                total = graph.op("Add", total, other, name=name)
            return total
        case ZeroPad():
            left, right, top, bottom = module.padding
            return graph.op("Pad", inputs[0], graph.constant([0, 0, top, left, 0, 0, bottom, right], "pads"), name=name)
        case AvgPool():
            pool = module.pool
            if (divisor := pool.divisor_override) is not None:
                raise ExportError(f"{name}: average pooling with a divisor of its own ({divisor}) has no operator")
            padded = int(pool.count_include_pad)
            return graph.op("AveragePool", inputs[0], name=name, count_include_pad=padded, **_window(pool))
        case MaxPool():
            dilations = pair(module.pool.dilation)
            return graph.op("MaxPool", inputs[0], name=name, dilations=dilations, **_window(module.pool))
        case LinearConv():
            return convolution(graph, node, inputs[0])
    raise ExportError(f"{name}: {type(module).__name__} has no ONNX operator")


def _window(pool: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    kernel, stride, padding, _ = window(pool)
    return {"kernel_shape": kernel, "strides": stride, "pads": 2 * padding, "ceil_mode": int(pool.ceil_mode)}

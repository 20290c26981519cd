"""What an ONNX graph would take for one image, from the shapes of its values; nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from onnx import TensorProto, helper, shape_inference

from spikedet.models.extent import Extent

Shape = tuple[int, ...]
LARGEST = 2**40
"""Values of one tensor; far beyond any memory, so that products of sides stay numbers that are quick to multiply."""
SMALL = 1024
"""Values of a constant that shapes may depend on; larger ones are known by their shape alone."""
UNKNOWN = 2**16
"""Taken for the number of boxes that non-maximum suppression keeps."""
POOLS = ("AveragePool", "MaxPool")


def extent_of(model: onnx.ModelProto, image_size: int) -> Extent:
    """Parameters, values and operations of a graph for one square image.

    Args:
        model: its first input is ``[N, 3, S, S]``.
        image_size: S.

    Raises:
        ValueError: the size of a value cannot be known before it is computed.
    """
    graph = model.graph
    extent = Extent(image_size)
    known = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    if len(known) < len(graph.initializer):
        raise ValueError("two of its tensors have one name")
    extent.parameters = sum(math.prod(shape) for shape in known.values())
    inputs = [value for value in graph.input if value.name not in known]
    known |= {inputs[0].name: (1, 3, image_size, image_size)}
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer} | {inputs[0].name: TensorProto.FLOAT}
    constants = {tensor.name: tensor for tensor in graph.initializer if math.prod(tensor.dims) <= SMALL}
    _add(extent, graph, known, kinds, constants, model.opset_import)
    return extent


def _add(
    extent: Extent,
    graph: onnx.GraphProto,
    known: Mapping[str, Shape],
    kinds: Mapping[str, int],
    constants: Mapping[str, TensorProto],
    opsets: Any,
    repeats: int = 1,
) -> None:
    """Add what a graph takes, which is run ``repeats`` times; ``known`` are the shapes of what it reads from outside."""
    shapes, types = _inferred(graph, known, kinds, constants, opsets)
    last = {name: number for number, node in enumerate(graph.node) for name in node.input}
    alive = most = 0
    for number, node in enumerate(graph.node):
        made = sum(_count(shapes, name) for name in node.output if name)
        read = sum(_count(shapes, name) for name in node.input if name)
        extent.values = max(extent.values, made + read)
        extent.operations += repeats * made * _work(node, shapes)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                body = attribute.g
                steps, inner = _scanned(node, body, shapes)
                outer = {name: kind for name, kind in types.items() if name in shapes}
                outer |= {i.name: types[name] for i, name in zip(body.input, node.input, strict=True)}
                _add(extent, body, {**shapes, **inner}, outer, constants, opsets, repeats * steps)
        alive += made
        most = max(most, alive)
        alive -= sum(_count(shapes, name) for name in {*node.input} if name and last[name] == number)
    extent.parameters += max(most, 0)


def _count(shapes: Mapping[str, Shape], name: str) -> int:
    if name not in shapes:
        raise ValueError(f"the size of {name[:80]!r} is not known before it is computed")
    count = 1
    for side in shapes[name]:
        count *= side
        if count > LARGEST:
            raise ValueError(f"{name[:80]!r} has more than {LARGEST} values")
    return count


def _work(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Operations for each value that a node makes."""
    if node.op_type == "Conv":
        return math.prod(shapes[node.input[1]][1:])
    if node.op_type in ("MatMul", "Gemm"):
        return max(shapes[node.input[0]], default=1)
    if node.op_type == "NonMaxSuppression":
        return math.prod(shapes[node.input[1]])
    if node.op_type in POOLS:
        kernel = next((attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape"), [])
        return math.prod(min(int(side), LARGEST) for side in kernel[:8])
    return 1


def _scanned(node: onnx.NodeProto, body: onnx.GraphProto, shapes: Mapping[str, Shape]) -> tuple[int, dict[str, Shape]]:
    """Steps of a Scan, and shapes of what its body is given: states as they are, sequences without their first axis."""
    settings = {attribute.name: attribute for attribute in node.attribute}
    if settings.keys() - {"body", "num_scan_inputs"} or len(node.input) != len(body.input):
        raise ValueError("a Scan reads along another axis than the first")
    count = settings["num_scan_inputs"].i
    states = len(node.input) - count
    sequences = [shapes[name] for name in node.input[states:]] if 0 < count <= len(node.input) else []
    if not sequences or not all(sequences):
        raise ValueError("a Scan reads nothing")
    given = [*(shapes[name] for name in node.input[:states]), *(shape[1:] for shape in sequences)]
    return sequences[0][0], {value.name: shape for value, shape in zip(body.input, given, strict=True)}


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the values that a graph, or a body in it, reads or gives back."""
    yield from (value.name for value in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _read(attribute.g)


def _inferred(
    graph: onnx.GraphProto,
    known: Mapping[str, Shape],
    kinds: Mapping[str, int],
    constants: Mapping[str, TensorProto],
    opsets: Any,
) -> tuple[dict[str, Shape], dict[str, int]]:
    """Shapes and types of all values that a graph reads and makes; what the file says of them is not believed."""
    every = [name for node in graph.node for name in node.output if name]
    made, used = set(every), set(_read(graph))
    if len(made) < len(every) or made & known.keys():
        raise ValueError("two of its values have one name")
    inputs = [
        helper.make_tensor_value_info(name, kinds[name], known[name])
        for name in sorted(used & known.keys() - constants.keys())
    ]
    outputs = [helper.make_empty_tensor_value_info(value.name) for value in graph.output]
    small = [constants[name] for name in sorted(used & constants.keys())]
    copied = helper.make_graph(graph.node, "shapes", inputs, outputs, small)
    model = helper.make_model(copied, opset_imports=opsets, ir_version=10)
    try:
        found = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # of several types, none of which it shares with others
        raise ValueError(f"its shapes do not fit ({str(error).splitlines()[0][:200]})") from error
    shapes, types = dict(known), dict(kinds)
    suppressed = any(node.op_type == "NonMaxSuppression" for node in graph.node)
    for value in (*found.value_info, *found.output):
        tensor = value.type.tensor_type
        sides = [side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim]
        if not tensor.HasField("shape") or (min(sides, default=0) < 0 and not suppressed):
            continue
        shapes[value.name] = tuple(UNKNOWN if side < 0 else side for side in sides)
        types[value.name] = tensor.elem_type
    return shapes, types

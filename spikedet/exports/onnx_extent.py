"""What an ONNX graph would take for one image, from the shapes of its values; nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from spikedet.models.extent import Extent

Shape = tuple[int, ...]
Values = dict[str, tuple[Shape, int]]
"""Shapes and types of values, by name."""
LARGEST = 2**31
"""Values of one tensor: its sides, and their products with the whole numbers of a file, do not overflow."""
MOST_SCALE = 2**16
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
    found = _Extent(
        Extent(image_size),
        {tensor.name: tensor for tensor in graph.initializer if math.prod(tensor.dims) <= SMALL},
        model.opset_import,
    )
    known = {tensor.name: (tuple(tensor.dims), tensor.data_type) for tensor in graph.initializer}
    if len(known) < len(graph.initializer):
        raise ValueError("two of its tensors have one name")
    found.extent.parameters = sum(math.prod(shape) for shape, _ in known.values())
    image = next(value.name for value in graph.input if value.name not in known)
    found.add(graph, {**known, image: ((1, 3, image_size, image_size), TensorProto.FLOAT)}, 1)
    return found.extent


@dataclass
class _Extent:
    """The extent of a graph while it grows, with what its shapes may depend on: small constants, and the opset."""

    extent: Extent
    constants: dict[str, TensorProto]
    opsets: Any

    def add(self, graph: onnx.GraphProto, known: Values, repeats: int) -> Values:
        """Add a graph that is run ``repeats`` times and reads ``known``; returns those values and all that it makes.

        What the file says about shapes is not believed.
        """
        values = known
        for node in graph.node:
            made = [name for name in node.output if name]
            if len({*made} - values.keys()) < len(made):
                raise ValueError("two of its values have one name")
            if node.op_type == "Scan":
                self._scan(node, values, repeats)
            else:
                self._infer(node, values)
        self._count(graph, values, repeats)
        return values

    def _scan(self, node: onnx.NodeProto, values: Values, repeats: int) -> None:
        """A loop over the first axis of sequences: states stay as they are, what is collected gets the axis again."""
        settings = {attribute.name: attribute for attribute in node.attribute}
        body, count = settings["body"].g, settings["num_scan_inputs"].i
        states = len(node.input) - count
        given = [_known(values, name) for name in node.input]
        sequences = given[states:]
        if settings.keys() != {"body", "num_scan_inputs"} or len(given) != len(body.input) or states < 0:
            raise ValueError("a Scan reads along another axis than the first, or not what its body is given")
        if not all(shape for shape, _ in sequences) or len(node.output) != len(body.output):
            raise ValueError("a Scan reads or makes nothing")
        steps = sequences[0][0][0]
        read = given[:states] + [(shape[1:], kind) for shape, kind in sequences]
        inner = dict(zip((value.name for value in body.input), read, strict=True))
        if inner.keys() & values.keys():
            raise ValueError("two of its values have one name")
        made = self.add(body, {**values, **inner}, repeats * steps)
        for number, (name, value) in enumerate(zip(node.output, body.output, strict=True)):
            shape, kind = _known(made, value.name)
            values[name] = (shape if number < states else (steps, *shape), kind)

    def _infer(self, node: onnx.NodeProto, values: Values) -> None:
        """Write down shape and type of what a node makes, one by one: sizes that overflow would abort the inference."""
        used = {name for name in node.input if name}
        read = [(name, *_known(values, name)) for name in sorted(used - self.constants.keys())]
        if node.op_type == "Resize":
            self._require_moderate(node)
        graph = helper.make_graph(
            [node],
            "shapes",
            [helper.make_tensor_value_info(name, kind, shape) for name, shape, kind in read],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name],
            [self.constants[name] for name in sorted(used & self.constants.keys())],
        )
        model = helper.make_model(graph, opset_imports=self.opsets, ir_version=10)
        try:
            found = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output
        except Exception as error:  # of several types, none of which it shares with others
            raise ValueError(f"its shapes do not fit ({str(error).splitlines()[0][:200]})") from error
        for value in found:
            tensor = value.type.tensor_type
            sides = [side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim]
            if tensor.HasField("shape") and (min(sides, default=0) >= 0 or node.op_type == "NonMaxSuppression"):
                values[value.name] = (tuple(UNKNOWN if side < 0 else side for side in sides), tensor.elem_type)
                _size(values, value.name)
        if node.op_type == "Shape" and not node.attribute:  # what shapes are computed from
            sides = list(_known(values, node.input[0])[0])
            self.constants[node.output[0]] = helper.make_tensor(node.output[0], TensorProto.INT64, [len(sides)], sides)

    def _require_moderate(self, node: onnx.NodeProto) -> None:
        """Raise ValueError for a Resize whose scales are not known and moderate."""
        for name in node.input[1:]:
            if name and name not in self.constants:
                raise ValueError("a Resize computes its scales")
            if name and not np.all(np.abs(onnx.numpy_helper.to_array(self.constants[name])) < MOST_SCALE):
                raise ValueError(f"a Resize enlarges maps more than {MOST_SCALE} times")

    def _count(self, graph: onnx.GraphProto, values: Values, repeats: int) -> None:
        """Add memory and operations of a graph, from the shapes of all its values."""
        steps = []
        for node in graph.node:
            made = {name: _size(values, name) for name in node.output if name}
            read = [name for name in node.input if name]
            total = sum(made.values())
            self.extent.values = max(self.extent.values, total + sum(_size(values, name) for name in {*read}))
            self.extent.operations += repeats * total * _work(node, values)
            steps.append((read, made))
        self.extent.parameters += most_alive(steps)


def most_alive(steps: Sequence[tuple[Sequence[str], Mapping[str, int]]]) -> int:
    """Most values that are kept at once.

    Args:
        steps: names of what each step reads, and sizes of what it makes, by name; kept until it is last read.
    """
    last = {name: number for number, (read, _) in enumerate(steps) for name in read}
    sizes: dict[str, int] = {}
    alive = most = 0
    for number, (read, made) in enumerate(steps):
        sizes |= made
        alive += sum(made.values())
        most = max(most, alive)
        alive -= sum(sizes.get(name, 0) for name in {*read} if last[name] == number)
    return most


def _known(values: Values, name: str) -> tuple[Shape, int]:
    if name not in values:
        raise ValueError(f"the size of {name[:80]!r} is not known before it is computed")
    return values[name]


def _size(values: Values, name: str) -> int:
    size = 1
    for side in _known(values, name)[0]:
        size *= side
        if size > LARGEST:
            raise ValueError(f"{name[:80]!r} has more than {LARGEST} values")
    return size


def _work(node: onnx.NodeProto, values: Values) -> int:
    """Operations for each value that a node makes."""
    if node.op_type == "Conv":
        return math.prod(values[node.input[1]][0][1:])
    if node.op_type in ("MatMul", "Gemm"):
        return max(values[node.input[0]][0], default=1)
    if node.op_type == "NonMaxSuppression":
        return math.prod(values[node.input[1]][0])
    if node.op_type in POOLS:
        settings = {attribute.name: attribute.ints for attribute in node.attribute}
        kernel: Sequence[int] = settings.get("kernel_shape", [])
        return math.prod(kernel[:8])
    return 1

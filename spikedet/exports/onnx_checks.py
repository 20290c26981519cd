"""Checks of ONNX files that others may have written, before an engine gets them.

An ONNX file can name files to read, operators of libraries to load, loops without end, and maps of any size. What our
exports need is little: one graph of standard operators with its tensors inside, Scan as the only loop, and sizes that
are known before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from spikedet.common.errors import CheckpointError, DataError
from spikedet.common.files import read_bytes
from spikedet.common.memory import free_bytes
from spikedet.exports.metadata import KEY, ExportMeta, from_text, output_names
from spikedet.exports.onnx_extent import SMALL, extent_of
from spikedet.exports.protobuf import require_modest
from spikedet.snn import IMAGE

MOST_BYTES, COPIES = 2**30, 4
"""Of a file, and how often it is in memory while it is read."""
MOST_NODES, MOST_LOOPS = 50_000, 1000
POSITIVE = ("strides", "kernel_shape", "dilations", "group", "num_scan_inputs")
"""Attributes that libraries divide by, or count with."""
OPSETS = range(13, 30)
_NAMES = """
    Add And AveragePool Cast Clip Concat Conv CumSum DequantizeLinear Div Expand Floor Gather GatherND Greater
    GreaterOrEqual Identity LeakyRelu Less LessOrEqual MatMul Max MaxPool Min Mul Neg NonMaxSuppression Pad
    QuantizeLinear ReduceMean ReduceSum Relu Reshape Resize Round Scan Shape Sigmoid Slice Softmax Split Squeeze Sub
    Tile Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())
"""None of them calls a function of another library, repeats without a bound, or makes maps whose size is data."""
_TYPES = map(onnx.TensorProto.DataType.Value, ("FLOAT", "INT64", "INT32", "INT8", "UINT8", "BOOL", "DOUBLE"))
TYPES = {kind: onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize for kind in _TYPES}
"""Bytes of a value."""


def checked(path: Path) -> tuple[bytes, ExportMeta]:
    """The content of an exported file, to be given to an engine as it is, and its metadata.

    Raises:
        CheckpointError: it is no ONNX file, not one of ours, damaged, or asks for files, libraries, memory or time.
    """
    try:
        content = read_bytes(path, min(MOST_BYTES, free_bytes(torch.device("cpu")) // COPIES))
    except DataError as error:
        raise CheckpointError(str(error)) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); expected an exported file") from error
    try:
        require_modest(content, onnx.ModelProto.DESCRIPTOR)
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, ValueError) as error:
        raise CheckpointError(f"{path}: no whole ONNX file ({error}); was it copied completely?") from error
    meta = from_text({entry.key: entry.value for entry in model.metadata_props}.get(KEY), str(path))
    try:
        _require_plain(model, meta)
        extent = extent_of(model, meta.network.image_size)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a file that spikedet has exported: {error}") from error
    extent.require(CheckpointError, str(path))
    return content, meta


def _require_plain(model: onnx.ModelProto, meta: ExportMeta) -> None:
    """Raise ValueError for anything that our exports do not have."""
    if model.functions or model.training_info:
        raise ValueError("it brings functions or training steps of its own")
    if [(entry.domain, entry.version in OPSETS) for entry in model.opset_import] != [("", True)]:
        raise ValueError("it needs operators other than the standard ones of opsets 13 to 29")
    nodes = 0
    for loops, graph in enumerate(graphs(model.graph)):
        nodes += len(graph.node)
        if nodes > MOST_NODES or loops > MOST_LOOPS:
            raise ValueError(f"it has more than {MOST_NODES} operators, or {MOST_LOOPS} loops")
        if graph.sparse_initializer or (graph.initializer and graph is not model.graph):
            raise ValueError("it has sparse tensors, or a loop with tensors of its own")
        for node in graph.node:
            _require_operator(node)
        for tensor in graph.initializer:
            require_tensor(tensor)
    _require_interface(model.graph, meta)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the bodies of its loops, theirs too."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def _require_operator(node: onnx.NodeProto) -> None:
    if node.domain or node.op_type not in OPERATORS:
        name = f"{node.domain}.{node.op_type}".strip(".")
        raise ValueError(f"the operator {name[:80]!r} is none of those that exports have")
    bodies = [attribute.name for attribute in node.attribute if attribute.HasField("g")]
    if bodies != (["body"] if node.op_type == "Scan" else []):
        raise ValueError(f"{node.op_type} has graphs of its own")
    for attribute in node.attribute:
        if attribute.graphs or attribute.sparse_tensors or attribute.HasField("sparse_tensor"):
            raise ValueError(f"{node.op_type} has graphs or sparse tensors of its own")
        least = 1 if attribute.name in POSITIVE else -(2**31)
        numbers = [attribute.i] if attribute.type == onnx.AttributeProto.INT else attribute.ints
        if any(not least <= number < 2**31 for number in numbers):
            raise ValueError(f"{node.op_type} has {attribute.name[:80]} outside {least} to 2^31")
        if attribute.ref_attr_name or attribute.type_protos or attribute.HasField("tp"):
            raise ValueError(f"{node.op_type} refers to a function's attributes")
        for tensor in (*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])):
            require_tensor(tensor)


def require_tensor(tensor: onnx.TensorProto) -> None:
    """Raise ValueError unless the values lie in the file, as many as its shape has."""
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        raise ValueError(f"the tensor {tensor.name[:80]!r} lies in another file")
    if tensor.data_type not in TYPES or tensor.HasField("segment"):
        raise ValueError(f"the tensor {tensor.name[:80]!r} is of a type that exports do not have")
    if any(side < 0 for side in tensor.dims) or len(tensor.dims) > 8:
        raise ValueError(f"the tensor {tensor.name[:80]!r} has no valid shape")
    given = len(tensor.raw_data) // TYPES[tensor.data_type]
    given += sum(len(getattr(tensor, f"{kind}_data")) for kind in ("float", "int32", "int64", "double", "uint64"))
    if given != math.prod(tensor.dims):
        raise ValueError(f"the tensor {tensor.name[:80]!r} has {given} values; its shape has {math.prod(tensor.dims)}")
    whole = tensor.data_type == onnx.TensorProto.INT64 and given <= SMALL
    if whole and not np.all(np.abs(onnx.numpy_helper.to_array(tensor).astype(np.float64)) <= 2**31):
        raise ValueError(f"the tensor {tensor.name[:80]!r} has numbers beyond 2^31")


def _require_interface(graph: onnx.GraphProto, meta: ExportMeta) -> None:
    """One input, images of the network's size, and the outputs that the metadata says."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    size = meta.network.image_size
    sides = [[side.dim_value for side in value.type.tensor_type.shape.dim][1:] for value in inputs]
    if [value.name for value in inputs] != [IMAGE] or sides != [[3, size, size]]:
        raise ValueError(f"expected one input, {IMAGE!r} of 3 x {size} x {size}")
    expected = {name for names in output_names(meta).values() for name in names}
    if missing := expected - {value.name for value in graph.output}:
        raise ValueError(f"it has no output {min(missing)!r}")

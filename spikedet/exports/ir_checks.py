"""Checks of OpenVINO files that others may have written, before and after OpenVINO reads them.

An IR is an XML text of layers and a file of constants. OpenVINO finds the shapes again when it reads one, so the sizes
in the text are not believed; what it has to compute for that, shapes from constants, is kept small beforehand.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from spikedet.common.errors import CheckpointError, DataError
from spikedet.common.files import read_bytes
from spikedet.exports.onnx_extent import LARGEST, SMALL, UNKNOWN, most_alive
from spikedet.models.extent import Extent

MOST_XML, MOST_LAYERS = 2**24, 50_000
_NAMES = """
    Add AvgPool Broadcast Concat Const Convert Convolution CumSum Divide FakeQuantize Floor Gather GatherND Greater
    GreaterEqual GroupConvolution Identity Interpolate Less LessEqual LogicalAnd MaxPool Maximum Minimum Multiply
    Negative NonMaxSuppression PRelu Pad Parameter ReLU ReduceSum Reshape Result Round Select ShapeOf Sigmoid Slice
    SoftMax Squeeze Subtract Tile Transpose Unsqueeze
"""
LAYERS = frozenset(_NAMES.split())
"""None of them repeats a body or comes from a library of its own."""
SHAPED = ("Broadcast", "Interpolate", "Pad", "Reshape", "Slice", "Tile")
"""The size of what they make depends on the values of their inputs but the first."""
SMALL_OPERATIONS = ("Add", "Broadcast", "Concat", "Convert", "Gather", "Subtract", "Unsqueeze")
"""What shapes are computed by, from constants and other shapes."""
Edges = dict[str, dict[int, str]]
"""Layers that each layer reads, by the number of its input."""


def require_plain(path: Path) -> None:
    """Check the XML. Raises CheckpointError for what exports do not have, or what would take long to read."""
    try:
        content = read_bytes(path, MOST_XML)
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise ValueError("it defines entities")
        tree = ElementTree.fromstring(content)
        layers = {layer.attrib["id"]: layer for layer in tree.iterfind("layers/layer")}
        if len(layers) > MOST_LAYERS or sum(1 for _ in tree.iter("layer")) != len(layers):
            raise ValueError(f"it has more than {MOST_LAYERS} layers, layers in layers, or two of one number")
        for layer in layers.values():
            kind, version = layer.attrib["type"], layer.attrib.get("version", "")
            if kind not in LAYERS or not version.startswith("opset"):
                raise ValueError(f"the layer {kind[:80]!r} is none of those that exports have")
        edges: Edges = {name: {} for name in layers}
        for edge in tree.iterfind("edges/edge"):
            edges[edge.attrib["to-layer"]][int(edge.attrib["to-port"])] = edge.attrib["from-layer"]
        with open(path.with_suffix(".bin"), "rb") as file:
            _require_small_shapes(layers, edges, file)
    except ElementTree.ParseError as error:
        raise CheckpointError(f"{path}: no whole OpenVINO file ({error}); was it copied completely?") from error
    except (AttributeError, DataError, OSError, LookupError, ValueError) as error:
        raise CheckpointError(f"{path}: not a file that spikedet has exported: {error}") from error


def _require_small_shapes(layers: dict[str, Any], edges: Edges, file: Any) -> None:
    """Raise ValueError unless shapes depend on small constants and on the shapes of maps alone.

    How often values are repeated within a shape (``counts``) has to be less still.
    """
    pending = [
        (source, False)
        for reader, sources in edges.items()
        for port, source in sources.items()
        if layers[reader].attrib["type"] in SHAPED and port
    ]
    seen = set()
    while pending:
        entry = pending.pop()
        if entry in seen:
            continue
        seen.add(entry)
        source, counts = entry
        kind = layers[source].attrib["type"]
        if kind == "Const":
            _require_small(layers[source].find("data").attrib, file, SMALL if counts else LARGEST)
        elif kind == "ShapeOf":
            if counts and layers[edges[source][0]].attrib["type"] not in ("Const", "ShapeOf"):
                raise ValueError("a shape has as many sides as a map has places")
        elif kind in SMALL_OPERATIONS:
            pending += [(s, counts or (kind == "Broadcast" and port > 0)) for port, s in edges[source].items()]
        else:
            raise ValueError(f"a shape is computed by {kind}")


def _require_small(data: dict[str, str], file: Any, most: int) -> None:
    """Raise ValueError unless a constant has few values, and whole ones up to a limit."""
    offset, size = int(data["offset"]), int(data["size"])
    if not 0 <= size <= 8 * SMALL or offset < 0:
        raise ValueError("a shape has thousands of sides")
    file.seek(offset)
    content, width = file.read(size), {"i64": 8, "i32": 4}.get(data["element_type"], 0)
    numbers = [content[i : i + width] for i in range(0, size, width)] if width else []
    if any(abs(int.from_bytes(number, "little", signed=True)) > most for number in numbers):
        raise ValueError(f"a shape has a side beyond {most}")


def extent_of(model: Any, image_size: int) -> Extent:
    """What a model takes for one image.

    Args:
        model: an ``openvino.Model`` whose input is ``[1, 3, S, S]``; it is not compiled.
        image_size: S.

    Raises:
        ValueError: a map has more values than can be.
    """
    extent = Extent(image_size)
    steps: list[tuple[list[str], dict[str, int]]] = []
    for node in model.get_ordered_ops():
        made = {f"{node.get_friendly_name()}:{i}": _size(out) for i, out in enumerate(node.outputs())}
        if node.get_type_name() == "Constant":
            extent.parameters += sum(made.values())
            continue
        sources = [entry.get_source_output() for entry in node.inputs()]
        read = [f"{source.get_node().get_friendly_name()}:{source.get_index()}" for source in sources]
        extent.values = max(extent.values, sum(made.values()) + sum(map(_size, sources)))
        extent.operations += sum(made.values()) * _work(node, sources)
        steps.append((read, made))
    extent.parameters += most_alive(steps)
    return extent


def _size(output: Any) -> int:
    shape = output.get_partial_shape()
    if not shape.rank.is_static:
        raise ValueError("the size of a map is not known before it is computed")
    size = math.prod(UNKNOWN if side.is_dynamic else int(side.get_length()) for side in shape)
    if size > LARGEST:
        raise ValueError(f"a map has more than {LARGEST} values")
    return size


def _work(node: Any, sources: list[Any]) -> int:
    """Operations for each value that a node makes."""
    kind = node.get_type_name()
    if kind in ("Convolution", "GroupConvolution"):
        return math.prod(int(side.get_length()) for side in list(sources[1].get_partial_shape())[-3:])
    if kind in ("AvgPool", "MaxPool"):
        return math.prod(node.get_attributes()["kernel"])
    return _size(sources[1]) if kind == "NonMaxSuppression" else 1

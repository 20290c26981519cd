"""Exported files that mean harm, ONNX and OpenVINO's IR, by kind: each writes one, made from a good export."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
from mutations import bytes_mutated, value_mutated
from onnx import TensorProto, helper, numpy_helper

from spikedet.commands.export import export
from spikedet.config import ExportConfig

Change = Callable[[onnx.ModelProto, random.Random], None]
Writer = Callable[[Path, dict[str, Path], random.Random], None]

NUMBERS = (0, -1, 1, 2, 3, 7, 2**16, 2**31, 2**40, 2**62, -(2**63), 2**63 - 1)
FILES = ("/etc/passwd", "../secret.bin", "weights.bin", "x.onnx", "/dev/zero", "//host/share", "C:\\x", "", "\x00")
DOMAINS = ("com.microsoft", "ai.onnx.ml", "ai.onnx.training", "x.y", "com.microsoft.nchwc", "\u2028" * 100)
OPERATORS = (
    "Loop",
    "If",
    "Scan",
    "NonZero",
    "Range",
    "RandomNormal",
    "ConstantOfShape",
    "Einsum",
    "Optional",
    "",
    "Conv",
)


def export_seeds(folder: Path, originals: dict[str, Path]) -> dict[str, Path]:
    """Exports of a QC-ANN, and of a spiking network with every kind of layer, as Scan and unrolled."""
    folder.mkdir(parents=True)
    made = {name: folder / f"{name}.onnx" for name in ("qc", "rich", "unrolled")}
    for name, path in made.items():
        source = str(originals["qc" if name == "qc" else "rich"])
        export(ExportConfig(checkpoint=source, out=str(path), unroll=name == "unrolled", images=1))
        export(ExportConfig(checkpoint=source, out=str(path.with_suffix(".xml")), to="openvino", images=1))
    return made


def _changed(change: Change, *names: str) -> Writer:
    def write(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
        model = onnx.load(originals[chance.choice(names or sorted(originals))])
        change(model, chance)
        path.write_bytes(model.SerializeToString())

    return write


def _bytes(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
    path.write_bytes(bytes_mutated(originals[chance.choice(sorted(originals))].read_bytes(), chance))


def _every_node(model: onnx.ModelProto) -> list[Any]:
    bodies = [a.g for node in model.graph.node for a in node.attribute if a.HasField("g")]
    return [*model.graph.node, *(node for body in bodies for node in body.node)]


def _external(model: onnx.ModelProto, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    entries = {"location": chance.choice(FILES), "offset": "0", "length": str(len(tensor.raw_data))}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    if chance.random() < 0.8:
        tensor.data_location = TensorProto.EXTERNAL
    if chance.random() < 0.5:
        tensor.ClearField("raw_data")


def _operator(model: onnx.ModelProto, chance: random.Random) -> None:
    node = chance.choice(_every_node(model))
    if chance.random() < 0.5:
        node.op_type = chance.choice(OPERATORS)
    else:
        node.domain = chance.choice(DOMAINS)
        if chance.random() < 0.7:
            model.opset_import.add(domain=node.domain, version=1)


def _opset(model: onnx.ModelProto, chance: random.Random) -> None:
    model.opset_import[0].version = chance.choice((*NUMBERS[:6], 6, 12, 13, 29, 99))
    model.ir_version = chance.choice((1, 8, 10, 99))


def _tensor(model: onnx.ModelProto, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    match chance.randrange(5):
        case 0 if tensor.dims:
            tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(NUMBERS)
        case 1:
            tensor.data_type = chance.randrange(25)
        case 2:
            tensor.raw_data = tensor.raw_data[: chance.choice((0, 1, 3))]
        case 3:
            tensor.name = chance.choice(model.graph.initializer).name
        case _:
            tensor.dims.append(chance.choice(NUMBERS))


def _values(model: onnx.ModelProto, chance: random.Random) -> None:
    """What shapes and loops are computed from, and weights."""
    tensor = chance.choice([t for t in model.graph.initializer if not t.external_data])
    array = numpy_helper.to_array(tensor).copy()
    if array.size:
        numbers = NUMBERS if array.dtype.kind == "i" else (np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, 1e-45)
        array.flat[chance.randrange(array.size)] = chance.choice(numbers)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _attributes(model: onnx.ModelProto, chance: random.Random) -> None:
    attribute = chance.choice([a for node in _every_node(model) for a in node.attribute])
    match chance.randrange(4):
        case 0:
            attribute.name = chance.choice(("strides", "pads", "axis", "group", "auto_pad", "body", "x", ""))
        case 1:
            attribute.type = chance.randrange(15)
        case _:
            attribute.i = chance.choice(NUMBERS)
            if attribute.ints:
                attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(NUMBERS)


def _edges(model: onnx.ModelProto, chance: random.Random) -> None:
    nodes = _every_node(model)
    names = [name for node in nodes for name in (*node.input, *node.output)]
    node = chance.choice(nodes)
    match chance.randrange(4):
        case 0 if node.input:
            node.input[chance.randrange(len(node.input))] = chance.choice((*names, "", "nothing"))
        case 1 if node.output:
            node.output[chance.randrange(len(node.output))] = chance.choice((*names, ""))
        case 2:
            del node.input[:]
        case _:
            first, second = chance.randrange(len(nodes)), chance.randrange(len(nodes))
            copied = onnx.NodeProto()
            copied.CopyFrom(nodes[first])
            nodes[first].CopyFrom(nodes[second])
            nodes[second].CopyFrom(copied)


def _growth(model: onnx.ModelProto, chance: random.Random) -> None:
    """Nodes between the image and its first reader that make it huge, and cut it to its size again."""
    many = chance.choice((2, 5, 100, 2**20, 2**40))
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    constants = {
        "Tile": np.array([1, 1, many, many], np.int64),
        "Pad": np.array([0, 0, many, many, 0, 0, 0, 0], np.int64),
        "Resize": np.array([1, 1, many, many], np.float32),
        "start": np.array([0, 0], np.int64),
        "stop": np.array([size, size], np.int64),
        "axes": np.array([2, 3], np.int64),
        "columns": np.array([-1, 1], np.int64),
        "maps": np.array([1, 3, size, size], np.int64),
    }
    kinds, last, nodes = ("Tile", "Pad", "Resize", "outer", "AveragePool", "Conv"), "image", []
    for number in range(chance.choice((1, 2, 12))):
        kind, made = chance.choice(kinds), f"grown{number}"
        if kind == "outer":
            nodes.append(helper.make_node("Reshape", [last, "x:columns"], [f"{made}:column"]))
            nodes.append(helper.make_node("Transpose", [f"{made}:column"], [f"{made}:row"]))
            nodes.append(helper.make_node("MatMul", [f"{made}:column", f"{made}:row"], [f"{made}:all"]))
            nodes.append(helper.make_node("ReduceMean", [f"{made}:all"], [f"{made}:one"], axes=[0], keepdims=0))
            nodes.append(helper.make_node("Reshape", [f"{made}:one", "x:maps"], [made]))
        elif kind == "AveragePool":
            side = min(2 * many + 1, 2**31 - 1)
            how = {"kernel_shape": [side, side], "pads": [side // 2] * 4}
            nodes.append(helper.make_node(kind, [last], [made], **how))
        elif kind == "Conv":
            weight = numpy_helper.from_array(np.ones((3, 3, 31, 31), np.float32), f"x:{made}")
            model.graph.initializer.append(weight)
            how = {"pads": [15 * min(many, 2**20)] * 4, "dilations": [min(many, 2**20)] * 2}
            nodes.append(helper.make_node(kind, [last, weight.name], [made], **how))
        else:
            nodes.append(helper.make_node(kind, [last, *([""] if kind == "Resize" else []), f"x:{kind}"], [made]))
        last = made
    nodes.append(helper.make_node("Slice", [last, "x:start", "x:stop", "x:axes"], ["cut"]))
    reader = next(node for node in model.graph.node if "image" in node.input)
    reader.input[list(reader.input).index("image")] = "cut"
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    model.graph.initializer.extend([numpy_helper.from_array(a, f"x:{name}") for name, a in constants.items()])


def _loops(model: onnx.ModelProto, chance: random.Random) -> None:
    """Loops without end, in each other, and with bodies that do not fit."""
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    node = chance.choice(scans)
    body = next(a for a in node.attribute if a.name == "body")
    match chance.randrange(5):
        case 0:
            node.op_type = "Loop"
        case 1:
            next(a for a in node.attribute if a.name == "num_scan_inputs").i = chance.choice(NUMBERS)
        case 2:
            inner = onnx.NodeProto()
            inner.CopyFrom(node)
            for _ in range(chance.choice((1, 40))):
                body.g.node.add().CopyFrom(inner)
        case 3:
            del (body.g.input if chance.random() < 0.5 else body.g.output)[:1]
        case _:
            node.attribute.add(name="scan_input_axes", type=7, ints=[chance.choice(NUMBERS)])


def _metadata(model: onnx.ModelProto, chance: random.Random) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == "spikedet")
    match chance.randrange(4):
        case 0:
            del model.metadata_props[:]
        case 1:
            entry.value = chance.choice(("[" * 10**5, "{}", "null", '{"a":' * 5000, "x" * 2**21, "\x00"))
        case 2:
            content = json.loads(entry.value)
            content[chance.choice(("steps", "boxes", "strides", "wait"))] = chance.choice(([], [1], "nms", -1, [2**40]))
            entry.value = json.dumps(content)
        case _:
            entry.value = json.dumps(value_mutated(json.loads(entry.value), chance))


def _interface(model: onnx.ModelProto, chance: random.Random) -> None:
    """Inputs and outputs."""
    graph = model.graph
    match chance.randrange(4):
        case 0:
            graph.input.add().CopyFrom(graph.output[0])
        case 1:
            del graph.output[chance.randrange(len(graph.output)) :]
        case 2:
            value = chance.choice((*graph.input, *graph.output, *graph.value_info))
            for side in value.type.tensor_type.shape.dim[:2]:
                side.dim_value = chance.choice(NUMBERS)
        case _:
            chance.choice((*graph.input, *graph.output)).type.tensor_type.elem_type = chance.randrange(20)


def _bomb(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
    """Few bytes that become many objects, and messages in messages."""
    whole = originals["qc"].read_bytes()
    if chance.random() < 0.5:
        empty = chance.choice((b"\x0a\x00", b"\x2a\x00", b"\x6a\x00", b"\x7a\x00")) * chance.choice((10**4, 3 * 10**5))
        path.write_bytes(whole + b"\x3a" + _varint(len(empty)) + empty)
        return
    nested = b""
    for _ in range(chance.choice((3, 20, 200))):  # a graph in an attribute of a node of a graph
        for key in (b"\x32", b"\x2a", b"\x0a"):
            nested = key + _varint(len(nested)) + nested
    path.write_bytes(whole + b"\x3a" + _varint(len(nested)) + nested)


def _varint(number: int) -> bytes:
    made = b""
    while number > 127:
        made += bytes([number & 127 | 128])
        number >>= 7
    return made + bytes([number])


def _ir_bytes(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
    source = originals[chance.choice(sorted(originals))].with_suffix(".xml")
    files = {path: source, path.with_suffix(".bin"): source.with_suffix(".bin")}
    broken = chance.choice(sorted(files))
    for target, whole in files.items():
        target.write_bytes(bytes_mutated(whole.read_bytes(), chance) if target == broken else whole.read_bytes())


def _ir_values(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
    """Attributes of layers and edges, sizes, and text that expands."""
    source = originals[chance.choice(sorted(originals))].with_suffix(".xml")
    path.with_suffix(".bin").write_bytes(source.with_suffix(".bin").read_bytes())
    tree = ElementTree.parse(source)
    layers, edges = list(tree.iterfind("layers/layer")), list(tree.iterfind("edges/edge"))
    for _ in range(chance.choice((1, 2, 4))):
        layer = chance.choice(layers)
        match chance.randrange(6):
            case 0:
                layer.set("type", chance.choice(("Loop", "TensorIterator", "If", "Convolution", "Tile", "x", "Range")))
            case 1:
                layer.set("version", chance.choice(("extension", "opset1", "opset99", "")))
            case 2:
                edge = chance.choice(edges)
                edge.set(chance.choice(sorted(edge.keys())), str(chance.choice((*NUMBERS, *range(20)))))
            case 3 if (data := layer.find("data")) is not None:
                key = chance.choice(sorted(data.keys()))
                data.set(key, chance.choice((*map(str, NUMBERS), "1,1", f"{2**40}, 4", "f64", "i64", "")))
            case 4:
                tree.getroot()[0].append(layer)
            case _:
                for side in layer.iter("dim"):
                    side.text = str(chance.choice(NUMBERS))
    text = ElementTree.tostring(tree.getroot(), encoding="unicode")
    if chance.random() < 0.1:
        text = '<!DOCTYPE a [<!ENTITY b "cccccccc"><!ENTITY d "&b;&b;&b;">]>' + text
    path.write_text(text, encoding="utf-8")


def _ir_shapes(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
    """Constants that shapes are computed from."""
    source = originals[chance.choice(sorted(originals))].with_suffix(".xml")
    content, tree = bytearray(source.with_suffix(".bin").read_bytes()), ElementTree.parse(source)
    whole = [data.attrib for data in tree.iter("data") if data.get("element_type") == "i64" and "offset" in data.attrib]
    for _ in range(chance.choice((1, 1, 3))):
        offset = int(chance.choice(whole)["offset"])
        content[offset : offset + 8] = chance.choice(NUMBERS).to_bytes(8, "little", signed=True)
    path.with_suffix(".bin").write_bytes(content)
    path.write_bytes(source.read_bytes())


IRS: dict[str, Writer] = {"IR: bytes": _ir_bytes, "IR: values": _ir_values, "IR: shapes": _ir_shapes}
EXPORTS: dict[str, Writer] = {
    **IRS,
    "exports: bytes": _bytes,
    "exports: other files": _changed(_external),
    "exports: operators": _changed(_operator),
    "exports: versions": _changed(_opset),
    "exports: tensors": _changed(_tensor),
    "exports: values": _changed(_values),
    "exports: attributes": _changed(_attributes),
    "exports: edges": _changed(_edges),
    "exports: huge maps": _changed(_growth),
    "exports: loops": _changed(_loops, "rich"),
    "exports: metadata": _changed(_metadata),
    "exports: inputs and outputs": _changed(_interface),
    "exports: bombs": _bomb,
}

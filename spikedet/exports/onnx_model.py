"""A network of any kind as one ONNX model with its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

from spikedet.exports.metadata import KEY, output_names, to_text
from spikedet.exports.onnx_boxes import decoded, suppressed
from spikedet.exports.onnx_graph import IR_VERSION, OPSET, OnnxGraph, value_info
from spikedet.exports.onnx_int8 import EightBits
from spikedet.exports.onnx_spiking import SpikingGraph
from spikedet.exports.onnx_static import write_static
from spikedet.exports.subject import Subject
from spikedet.snn import IMAGE

BATCH = "batch"
"""Name of the free dimension."""


def onnx_model(subject: Subject) -> onnx.ModelProto:
    """The network as a checked model. Raises ExportError for a layer that has no operators."""
    graph, outputs = OnnxGraph(), []
    found = _values(graph, subject)
    shapes = _shapes(subject)
    for t, names in output_names(subject.file_meta).items():
        for name, value, shape in zip(names, found[t], shapes, strict=True):
            graph.op("Identity", value, out=name)
            outputs.append(value_info(name, shape, integer=name.startswith("spikes")))
    made = helper.make_graph(
        graph.nodes,
        subject.meta.model,
        [value_info(IMAGE, [BATCH, 3, *subject.image_hw])],
        outputs,
        graph.initializers,
    )
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="spikedet"
    )
    helper.set_model_props(model, {KEY: to_text(subject.file_meta)})
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def _values(graph: OnnxGraph, subject: Subject) -> dict[int, list[str]]:
    """Values of the outputs by time step, in their order."""
    network = subject.network
    if not subject.meta.spiking:
        T = subject.meta.T if subject.meta.stage == "qc" else None
        eight_bits = T if subject.file_meta.precision == "int8" else None
        if not eight_bits:
            return {0: _boxes(graph, subject, write_static(graph, network, T))}
        made = EightBits(graph, network, eight_bits, unclipped=subject.meta.linear == "analog")
        return {0: _boxes(graph, subject, made.write())}
    spiking = SpikingGraph(graph, network, subject.image_hw, subject.steps, subject.config.unroll)
    spiking.write()
    by_step = {t: {name: maps[t] for name, maps in spiking.maps.items()} for t in subject.steps}
    return {t: [*_boxes(graph, subject, maps), spiking.spikes(t)] for t, maps in by_step.items()}


def _boxes(graph: OnnxGraph, subject: Subject, maps: Mapping[str, str]) -> list[str]:
    """Raw maps by scale, boxes and classes in turn, or what ``--boxes`` asks for in their place."""
    network, config = subject.network, subject.config
    boxes, classes = ([maps[name] for name in names] for names in (network.box_readouts, network.class_readouts))
    if not config.boxes:
        return [value for pair in zip(boxes, classes, strict=True) for value in pair]
    shapes = network.shapes(subject.image_hw)
    predictions = decoded(graph, network, boxes, classes, [shapes[name] for name in network.box_readouts])
    if config.boxes == "all":
        return [predictions]
    return [suppressed(graph, predictions, len(subject.meta.class_names), config.confidence, config.iou)]


def _shapes(subject: Subject) -> list[list[Any]]:
    """Dimensions of the outputs of a time step, in their order."""
    network, counts = subject.network, [[BATCH]] if subject.meta.spiking else []
    shapes = network.shapes(subject.image_hw)
    if subject.config.boxes == "nms":
        return [["detections", 7], *counts]
    if subject.config.boxes == "all":
        cells = sum(shapes[name][1] * shapes[name][2] for name in network.box_readouts)
        return [[BATCH, 4 + len(subject.meta.class_names), cells], *counts]
    readouts = [name for pair in zip(network.box_readouts, network.class_readouts, strict=True) for name in pair]
    return [*([BATCH, *shapes[name]] for name in readouts), *counts]

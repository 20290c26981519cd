"""ONNX files of every kind of network, and their outputs from onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import helper
from torch import Tensor

from spikedet.exports.metadata import KEY, output_names, to_text
from spikedet.exports.onnx_graph import IR_VERSION, OPSET, OnnxGraph, value_info
from spikedet.exports.onnx_reading import read as read
from spikedet.exports.onnx_spiking import SpikingGraph
from spikedet.exports.onnx_static import write_static
from spikedet.exports.subject import Outputs, Subject
from spikedet.snn import IMAGE

BATCH = "batch"
"""Name of the free dimension."""


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write the network. Raises ExportError for a layer that has no operators."""
    model = onnx_model(subject)
    onnx.save(model, path)
    return {"operators": str(len(model.graph.node))}


def onnx_model(subject: Subject) -> onnx.ModelProto:
    """The network as a checked ONNX model."""
    graph, network, meta = OnnxGraph(), subject.network, subject.file_meta
    readouts = [r for pair in zip(network.box_readouts, network.class_readouts, strict=True) for r in pair]
    if subject.meta.spiking:
        spiking = SpikingGraph(graph, network, subject.image_hw, subject.steps, subject.config.unroll)
        spiking.write()
        found = {t: [*(spiking.maps[name][t] for name in readouts), spiking.spikes(t)] for t in subject.steps}
    else:
        values = write_static(graph, network, subject.meta.T if subject.meta.stage == "qc" else None)
        found = {0: [values[name] for name in readouts]}
    outputs = []
    shapes = network.shapes(subject.image_hw)
    for t, names in output_names(meta).items():
        ordered = iter(readouts)
        for name, value in zip(names, found[t], strict=True):
            graph.op("Identity", value, out=name)
            shape: list[int | str | None] = [BATCH] if name.startswith("spikes") else [BATCH, *shapes[next(ordered)]]
            outputs.append(value_info(name, shape, integer=name.startswith("spikes")))
    return finished(graph, subject, outputs)


def finished(graph: OnnxGraph, subject: Subject, outputs: list[Any]) -> onnx.ModelProto:
    """A graph as a model with inputs, outputs and metadata."""
    shape: list[int | str | None] = [BATCH, 3, *subject.image_hw]
    made = helper.make_graph(
        graph.nodes,
        subject.meta.model,
        [value_info(IMAGE, shape)],
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


def run(path: Path) -> Callable[[Tensor], Mapping[int, Outputs]]:
    """A file as a function of images. Raises CheckpointError."""
    return read(path)[1]

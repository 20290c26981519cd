"""ONNX files of every kind of network, and their outputs from onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from torch import Tensor

from spikedet.exports.onnx_model import onnx_model
from spikedet.exports.onnx_reading import read as read
from spikedet.exports.subject import Outputs, Subject


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write the network. Raises ExportError for a layer that has no operators."""
    model = onnx_model(subject)
    onnx.save(model, path)
    return {"operators": str(len(model.graph.node))}


def run(path: Path) -> Callable[[Tensor], Mapping[int, Outputs]]:
    """A file as a function of images. Raises CheckpointError."""
    return read(path)[1]

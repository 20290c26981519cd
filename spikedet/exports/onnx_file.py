"""ONNX files of every kind of network, and their outputs from onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor

from spikedet.common.errors import CheckpointError
from spikedet.exports.metadata import KEY, from_text
from spikedet.exports.onnx_model import onnx_model
from spikedet.exports.outputs import outputs_of
from spikedet.exports.subject import Outputs, Subject
from spikedet.snn import IMAGE


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write the network. Raises ExportError for a layer that has no operators."""
    model = onnx_model(subject)
    onnx.save(model, path)
    return {"operators": str(len(model.graph.node))}


def run(path: Path) -> Callable[[Tensor], Mapping[int, Outputs]]:
    """A file in onnxruntime on the CPU, with as many threads as torch has. Raises CheckpointError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a type of its own for every kind of failure
        raise CheckpointError(f"{path}: onnxruntime cannot run it ({str(error).splitlines()[0]})") from error
    meta = from_text(session.get_modelmeta().custom_metadata_map.get(KEY), str(path))

    def outputs(images: Tensor) -> Mapping[int, Outputs]:
        names = [output.name for output in session.get_outputs()]
        arrays = session.run(names, {IMAGE: images.float().contiguous().numpy()})
        return outputs_of({name: torch.from_numpy(a) for name, a in zip(names, arrays, strict=True)}, meta, len(images))

    return outputs

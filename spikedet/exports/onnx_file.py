"""ONNX files of every kind of network, and their outputs from onnxruntime, after the checks of ``onnx_checks``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor

from spikedet.common.errors import CheckpointError
from spikedet.exports.metadata import ExportMeta
from spikedet.exports.onnx_checks import checked
from spikedet.exports.onnx_model import onnx_model
from spikedet.exports.outputs import outputs_of
from spikedet.exports.subject import Outputs, Run, Subject
from spikedet.snn import IMAGE


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write the network. Raises ExportError for a layer that has no operators."""
    model = onnx_model(subject)
    onnx.save(model, path)
    return {"operators": str(len(model.graph.node))}


def read(path: Path) -> tuple[ExportMeta, Run]:
    """A file's metadata, and the file as a function of images, with as many threads as torch has.

    Raises:
        CheckpointError: the file is refused, or onnxruntime cannot run it.
    """
    content, meta = checked(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 4  # what is wrong is in the exception
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a type of its own for every kind of failure
        raise CheckpointError(f"{path}: onnxruntime cannot run it ({str(error).splitlines()[0]})") from error
    names = [output.name for output in session.get_outputs()]

    def outputs(images: Tensor) -> Mapping[int, Outputs]:
        try:
            arrays = session.run(names, {IMAGE: images.float().cpu().contiguous().numpy()})
        except Exception as error:
            raise CheckpointError(f"{path}: onnxruntime cannot run it ({str(error).splitlines()[0]})") from error
        return outputs_of(dict(zip(names, map(torch.from_numpy, arrays), strict=True)), meta, len(images))

    return meta, outputs

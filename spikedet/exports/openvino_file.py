"""OpenVINO's IR (an ``.xml`` and a ``.bin`` beside it) from the ONNX graph, and its outputs on the CPU.

OpenVINO 2026.4 reads no Scan that uses values from outside, so time steps are written one after the other. Nothing is
sent: see ``formats.require``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikedet.common.errors import CheckpointError
from spikedet.exports.formats import require
from spikedet.exports.ir_checks import extent_of, require_plain
from spikedet.exports.metadata import KEY, ExportMeta, from_text, to_text
from spikedet.exports.onnx_model import onnx_model
from spikedet.exports.outputs import outputs_of
from spikedet.exports.subject import Outputs, Run, Subject
from spikedet.snn import IMAGE

MOST_BYTES = 2**30
"""Of both files together."""


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write the network. Raises ExportError for a layer that has no operators."""
    openvino = require("openvino")
    if subject.meta.spiking:
        subject = dataclasses.replace(subject, config=dataclasses.replace(subject.config, unroll=True))
    model = openvino.Core().read_model(onnx_model(subject).SerializeToString())
    model.set_rt_info(to_text(subject.file_meta), KEY)
    openvino.save_model(model, path, compress_to_fp16=False)
    return {"operators": str(len(model.get_ops()))}


def read(path: Path) -> tuple[ExportMeta, Run]:
    """A file's metadata, and the file as a function of images, with as many threads as torch has.

    Float32 is computed as such: left alone, OpenVINO rounds to bfloat16 where the CPU multiplies it.

    Raises:
        CheckpointError: the file is missing, damaged, too large or none of ours.
    """
    openvino = require("openvino")
    _require_modest(path)
    require_plain(path)
    try:
        core = openvino.Core()
        model = core.read_model(path)
        text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        meta = from_text(text, str(path))
        size = meta.network.image_size
        model.reshape({IMAGE: [1, 3, size, size]})
        extent_of(model, size).require(CheckpointError, str(path))
        model.reshape({IMAGE: [-1, 3, size, size]})
        how = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(model, "CPU", how)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: OpenVINO cannot run it ({_reason(error)})") from error
    places = {name: place for place, output in enumerate(compiled.outputs) for name in output.names}

    def outputs(images: Tensor) -> Mapping[int, Outputs]:
        try:
            found: Any = compiled({IMAGE: np.ascontiguousarray(images.float().cpu().numpy())})
        except RuntimeError as error:
            raise CheckpointError(f"{path}: OpenVINO cannot run it ({_reason(error)})") from error
        tensors = {name: torch.from_numpy(np.array(found[place])) for name, place in places.items()}
        return outputs_of(tensors, meta, len(images))

    return meta, outputs


def _require_modest(path: Path) -> None:
    """Raise CheckpointError where one of the two files is missing, or they are too large."""
    files = [path, path.with_suffix(".bin")]
    if missing := [file for file in files if not file.is_file()]:
        raise CheckpointError(f"{missing[0]}: no such file; an export for OpenVINO is an .xml and a .bin file")
    size = sum(file.stat().st_size for file in files)
    if size > MOST_BYTES:
        raise CheckpointError(f"{path}: {size} bytes with its .bin; expected at most {MOST_BYTES}")


def _reason(error: Exception) -> str:
    """The line of OpenVINO's messages that says what is wrong; the first names its source file."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)].strip() if lines else type(error).__name__

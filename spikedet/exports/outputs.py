"""Tensors of an exported file, by the names of ``metadata.output_names``, as outputs by time step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from spikedet.common.errors import CheckpointError
from spikedet.exports.metadata import ExportMeta, output_names
from spikedet.exports.subject import Outputs
from spikedet.models.postprocess import MAX_DETECTIONS, decode_head


def outputs_of(tensors: Mapping[str, Tensor], meta: ExportMeta, batch: int) -> dict[int, Outputs]:
    """Outputs by time step of a batch of so many images. Raises CheckpointError where the file lacks one."""
    names = output_names(meta)
    return {t: _outputs([_get(tensors, name) for name in own], meta, batch) for t, own in names.items()}


def _get(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"the exported file has no output {name!r}; it has {', '.join(tensors)}")
    return tensors[name]


def _outputs(tensors: list[Tensor], meta: ExportMeta, batch: int) -> Outputs:
    spikes = tensors.pop().double() if meta.steps else None
    if meta.boxes == "all":
        return Outputs(tensors[0], spikes)
    if meta.boxes == "nms":
        (rows,) = tensors
        return Outputs(spikes=spikes, detections=[_best(rows[rows[:, 0] == image, 1:]) for image in range(batch)])
    return Outputs(decode_head(tensors[::2], tensors[1::2], torch.tensor(meta.strides)), spikes)


def _best(rows: Tensor) -> Tensor:
    """The best detections of an image, of all classes together, best first."""
    return rows[rows[:, 4].argsort(descending=True, stable=True)][:MAX_DETECTIONS]

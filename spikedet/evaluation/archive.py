"""Detections of an evaluated network on disk, so that an interrupted evaluation resumes with the missing networks.

One safetensors file for a network: for every time step t the tensors ``t.boxes`` ``[M, 4]``, ``t.scores`` and
``t.labels`` ``[M]`` over all images, ``t.counts`` ``[images]`` that parts them, and spikes per image. What else its
spikes did is JSON in the file's metadata.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from spikedet.common.digests import json_sha256
from spikedet.common.errors import DataError
from spikedet.common.files import atomic_path
from spikedet.common.typed import typed
from spikedet.costs.counts import OperationCounts
from spikedet.data.dataset import DetectionDataset
from spikedet.detections import Arrays, Detections, from_arrays, to_arrays

_NAMES = tuple(to_arrays([]))
_KEY = "operations"


@dataclass(frozen=True)
class Predicted:
    """What a network said on every image of a split.

    Attributes:
        detections: by time step (0 without time), one ``Detections`` per image.
        spikes: mean spikes per image, by time step; empty for a network that does not spike.
        operations: all that spikes did, by time step; empty in files of versions that did not count it.
    """

    detections: dict[int, list[Detections]]
    spikes: dict[int, float]
    operations: dict[int, OperationCounts] = field(default_factory=dict)


def archive_key(dataset: DetectionDataset, **facts: Any) -> str:
    """A name that changes with the images and with every fact about how they were evaluated, 16 hex digits."""
    return json_sha256([dataset.split, dataset.image_facts(), facts])[:16]


def save_predicted(path: Path, predicted: Predicted) -> Path:
    """Write them atomically."""
    arrays: Arrays = {}
    for t, found in predicted.detections.items():
        arrays |= {f"{t}.{name}": array for name, array in to_arrays(found).items()}
        if t in predicted.spikes:
            arrays[f"{t}.spikes"] = np.array([predicted.spikes[t]])
    counts = {t: dataclasses.asdict(counted) for t, counted in predicted.operations.items()}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={_KEY: json.dumps(counts)})
    return path


def load_predicted(path: Path, images: int) -> Predicted | None:
    """What ``save_predicted`` wrote for this many images; None if there is no such file or it is not whole."""
    try:
        arrays = load_file(path)
        with safe_open(path, "numpy") as file:
            counts = (file.metadata() or {}).get(_KEY, "{}")
        operations = typed(dict[int, OperationCounts], counts, str(path), DataError)
        steps = sorted(int(name.split(".")[0]) for name in arrays if name.endswith(".counts"))
        detections = {t: from_arrays({name: arrays[f"{t}.{name}"] for name in _NAMES}) for t in steps}
    except (OSError, DataError, SafetensorError, AttributeError, KeyError, ValueError):
        return None
    if not steps or any(len(found) != images for found in detections.values()):
        return None
    spikes = {t: float(arrays[f"{t}.spikes"][0]) for t in steps if f"{t}.spikes" in arrays}
    return Predicted(detections, spikes, operations)

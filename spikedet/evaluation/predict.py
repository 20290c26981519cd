"""Detections of a whole dataset from any network that maps an input to decoded predictions by time step.

Under torchrun every process sees its share of the batches, the same batches that one process would see, and all of them
get all the detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import numpy as np
import torch
import torchvision  # noqa: F401  its kernel is then used for non-maximum suppression; same boxes, many times as fast
from torch import Tensor

from spikedet.common.distributed import gather_arrays, interleave, own
from spikedet.data import DetectionDataset
from spikedet.data.transforms import to_input
from spikedet.detections import Detections, from_arrays, to_arrays
from spikedet.models.postprocess import EVALUATION_CONFIDENCE, to_detections

Forward = Callable[[Tensor], Mapping[int, Tensor]]
"""``[N, 3, S, S]`` in [0, 1] -> decoded predictions ``[N, 4 + classes, A]`` by time step (0 for an ANN)."""


@torch.no_grad()
def predict_dataset(
    forward: Forward,
    dataset: DetectionDataset,
    image_size: int,
    batch: int = 8,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    confidence: float = EVALUATION_CONFIDENCE,
) -> dict[int, list[Detections]]:
    """Detections of every image, by time step; ``progress`` may wrap the iteration over batches."""
    found: dict[int, list[list[Detections]]] = {}
    for start in progress(own(range(0, len(dataset), batch))):
        indices = range(start, min(start + batch, len(dataset)))
        images = [dataset.read_image(i) for i in indices]
        images_hw = [(int(image.shape[0]), int(image.shape[1])) for image in images]
        for t, predictions in forward(to_input(images, image_size)).items():
            found.setdefault(t, []).append(to_detections(predictions.float(), image_size, images_hw, confidence))
    return {t: _gather(found.get(t, [])) for t in _steps(found)}


def _steps(found: Mapping[int, object]) -> list[int]:
    """The time steps; a process without a batch does not know them by itself."""
    parts = gather_arrays({"steps": np.array(list(found), np.int64)})
    return [int(t) for t in max((part["steps"] for part in parts), key=len)]


def _gather(batches: list[list[Detections]]) -> list[Detections]:
    """The batches of all processes, one after the other."""
    arrays = to_arrays([detections for batch in batches for detections in batch])
    arrays["batches"] = np.array([len(batch) for batch in batches], np.int64)
    shares = []
    for part in gather_arrays(arrays):
        images = iter(from_arrays(part))
        shares.append([list(islice(images, count)) for count in part["batches"]])
    return [detections for batch in interleave(shares) for detections in batch]

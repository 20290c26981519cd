"""Detections of a whole dataset from any network that maps an input to decoded predictions by time step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from spikedet.data import DetectionDataset
from spikedet.data.transforms import to_input
from spikedet.detections import Detections
from spikedet.models.postprocess import to_detections

Forward = Callable[[Tensor], Mapping[int, Tensor]]
"""``[N, 3, S, S]`` in [0, 1] -> decoded predictions ``[N, 4 + classes, A]`` by time step (0 for an ANN)."""


@torch.no_grad()
def predict_dataset(
    forward: Forward,
    dataset: DetectionDataset,
    image_size: int,
    batch: int = 8,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[int, list[Detections]]:
    """Detections of every picture, by time step; ``progress`` may wrap the iteration over batches."""
    found: dict[int, list[Detections]] = {}
    for start in progress(range(0, len(dataset), batch)):
        indices = range(start, min(start + batch, len(dataset)))
        images = [dataset.read_image(i) for i in indices]
        images_hw = [(int(image.shape[0]), int(image.shape[1])) for image in images]
        for t, predictions in forward(to_input(images, image_size)).items():
            found.setdefault(t, []).extend(to_detections(predictions.float(), image_size, images_hw))
    return found

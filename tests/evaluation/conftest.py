"""Random and hand-made datasets for the evaluation tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from spikedet.data.dataset import DetectionDataset, Sample
from spikedet.detections import Detections

Made = tuple[DetectionDataset, list[Detections]]
Truth = Sequence[tuple[Sequence[float], int, bool] | tuple[Sequence[float], int, bool, bool]]
Found = Sequence[tuple[Sequence[float], int, float]]


@pytest.fixture(scope="session")
def hand_made() -> Callable[..., Made]:
    """From ``(box, label, difficult)``, the same with ``crowd``, and ``(box, label, score)`` per image."""

    def make(truths: Sequence[Truth], founds: Sequence[Found], classes: int = 2) -> Made:
        samples = tuple(_sample(i, *zip(*truth, strict=True)) for i, truth in enumerate(truths))
        detections = [
            Detections([f[0] for f in found], [f[2] for f in found], [f[1] for f in found])
            if found
            else Detections.empty()
            for found in founds
        ]
        return DetectionDataset("made", "test", tuple(f"class{i}" for i in range(classes)), samples), detections

    return make


@pytest.fixture(scope="session")
def random_made() -> Callable[..., Made]:
    """Random boxes of all sizes, detections near them, strays; all scores distinct."""

    def make(
        seed: int, images: int = 6, classes: int = 3, difficult: float = 0.0, spread: float = 0.15, crowd: float = 0.0
    ) -> Made:
        rng = np.random.default_rng(seed)
        samples, detections = [], []
        for image in range(images):
            count = int(rng.integers(0, 7))
            boxes = _random_boxes(rng, count)
            labels = rng.integers(0, classes, count)
            hard = rng.random(count) < difficult
            many = hard & (np.random.default_rng(image).random(count) < crowd)
            samples.append(_sample(image, boxes, labels, hard, many))
            near = np.repeat(np.arange(count), rng.integers(0, 3, count))
            sides = np.tile(boxes[near, 2:] - boxes[near, :2], 2)
            moved = boxes[near] + rng.normal(0, spread, (len(near), 4)) * sides
            found = np.concatenate([np.sort(moved.reshape(-1, 2, 2), axis=1).reshape(-1, 4), _random_boxes(rng, 3)])
            named = np.concatenate([labels[near], rng.integers(0, classes, 3)])
            detections.append(Detections(found, rng.random(len(found)), named))
        names = tuple(f"class{i}" for i in range(classes))
        return DetectionDataset("random", "test", names, tuple(samples)), detections

    return make


def _random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner, side = rng.uniform(0, 300, (count, 2)), np.exp(rng.uniform(np.log(8), np.log(200), (count, 2)))
    return np.concatenate([corner, corner + side], axis=1)


def _sample(
    image: int, boxes: object = (), labels: object = (), difficult: Sequence[bool] = (), crowd: Sequence[bool] = ()
) -> Sample:
    return Sample(
        f"image{image}",
        Path(f"image{image}.png"),
        (500, 480),
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(labels, np.int64).reshape(-1),
        np.asarray(difficult, np.bool_).reshape(-1),
        np.asarray(crowd if len(crowd) else np.zeros(len(difficult)), np.bool_),
    )

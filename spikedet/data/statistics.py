"""What a split holds in numbers: objects by class and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spikedet.data.dataset import Sample

SMALL_SIDE_PX, LARGE_SIDE_PX = 32, 96
"""COCO's object sizes: small has an area below 32**2 pixels, large above 96**2."""


@dataclass(frozen=True)
class SplitStatistics:
    """Counts of one split. Sizes are in pixels of the original images; difficult objects are counted too.

    Attributes:
        images: that can be used.
        without_objects: images that have no object.
        objects_by_class: by class name, in label order.
        difficult: objects neither trained on nor evaluated.
        small, medium, large: objects by COCO's areas.
        median_side_px: median of the square root of the box areas; None without objects.
    """

    images: int
    without_objects: int
    objects_by_class: dict[str, int]
    difficult: int
    small: int
    medium: int
    large: int
    median_side_px: float | None


def sides_px(samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    """Square root of every box's area, ``[objects]``."""
    boxes = np.concatenate([np.zeros((0, 4)), *(sample.boxes_xyxy for sample in samples)])
    return np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def split_statistics(samples: Sequence[Sample], class_names: Sequence[str]) -> SplitStatistics:
    """The numbers of a split."""
    sides = sides_px(samples)
    labels = np.concatenate([np.zeros(0, np.int64), *(sample.labels for sample in samples)])
    counts = np.bincount(labels, minlength=len(class_names))
    small, large = int((sides < SMALL_SIDE_PX).sum()), int((sides > LARGE_SIDE_PX).sum())
    return SplitStatistics(
        images=len(samples),
        without_objects=sum(not len(sample.labels) for sample in samples),
        objects_by_class={name: int(count) for name, count in zip(class_names, counts, strict=True)},
        difficult=int(sum(sample.difficult.sum() for sample in samples)),
        small=small,
        medium=len(sides) - small - large,
        large=large,
        median_side_px=round(float(np.median(sides)), 2) if len(sides) else None,
    )

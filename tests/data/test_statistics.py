"""Counts by class and size, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spikedet.data import Sample
from spikedet.data.statistics import SplitStatistics, sides_px, split_statistics


def sample(*boxes: tuple[float, float, float, float], labels: tuple[int, ...] = (), difficult: int = 0) -> Sample:
    flags = np.arange(len(boxes)) < difficult
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample("a", Path("a.jpg"), (200, 200), corners, np.array(labels, np.int64), flags, np.zeros_like(flags))


def test_nothing() -> None:
    assert split_statistics([], ()) == SplitStatistics(0, 0, {}, 0, 0, 0, 0, None)
    assert sides_px([]).shape == (0,)


def test_by_hand() -> None:
    """Sides 31, 32, 96, 97 and sqrt(8 * 18) = 12."""
    squares = [(0, 0, side, side) for side in (31, 32, 96, 97)]
    samples = [sample(*squares, labels=(0, 0, 1, 0), difficult=1), sample(), sample((1, 2, 9, 20), labels=(2,))]
    assert split_statistics(samples, ("a", "b", "c", "d")) == SplitStatistics(
        images=3,
        without_objects=1,
        objects_by_class={"a": 3, "b": 1, "c": 1, "d": 0},
        difficult=1,
        small=2,
        medium=2,
        large=1,
        median_side_px=32.0,
    )
    assert sides_px(samples).tolist() == [31, 32, 96, 97, 12]

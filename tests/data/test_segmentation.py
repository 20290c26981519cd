"""COCO's polygons and run lengths as boxes, beside pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask

from spikedet.common.errors import DataError
from spikedet.data.coco.segmentation import segmentation_box


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_none(empty: object) -> None:
    assert segmentation_box("x", empty) is None


def test_polygons() -> None:
    assert segmentation_box("x", [[1, 2, 5, 2.5, 3, 9], [0.5, 4, 1, 4, 1, 5]]) == [0.5, 2, 4.5, 7]


@pytest.mark.parametrize("density", [0.002, 0.05, 0.5, 1.0])
def test_run_lengths_give_the_box_of_pycocotools(density: float) -> None:
    draw = np.random.default_rng(int(density * 1000))
    for _ in range(30):
        height, width = draw.integers(1, 40, 2)
        pixels = np.asfortranarray(draw.random((height, width)) < density, np.uint8)
        pixels[draw.integers(height), draw.integers(width)] = 1
        encoded = mask.encode(pixels)
        columns = pixels.flatten(order="F")
        changes = np.flatnonzero(np.diff(np.concatenate([[0], columns])))
        counts = np.diff(np.concatenate([[0], changes, [len(columns)]])).tolist()
        rows, cols = pixels.any(1).nonzero()[0], pixels.any(0).nonzero()[0]
        box = [cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1]
        size = [int(height), int(width)]
        assert segmentation_box("x", {"size": size, "counts": counts}) == box
        assert segmentation_box("x", {"size": size, "counts": encoded["counts"].decode()}) == box


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([[1, 2, 3]], "expected polygons, x and y in turn"),
        ([[1, 2, 3, 4, 5, float("nan")]], "expected polygons"),
        ([[1, 2, 3, 4, 5, 10**400]], "expected polygons"),
        ([1, 2], "expected polygons"),
        ({"size": [0, 5], "counts": [1]}, "has the segmentation size a list; expected height and width"),
        ({"size": [5, 10**9], "counts": [1]}, "segmentation size"),
        ({"size": [5, 5], "counts": [1, -1]}, "has run lengths a list; expected COCO's"),
        ({"size": [5, 5], "counts": [20, 6]}, "run lengths of 26 pixels; expected 5 x 5"),
        ({"size": [5, 5], "counts": [25]}, "covers no pixel"),
        ({"size": [5, 5], "counts": "\x7f\x7f"}, "has run lengths"),
        ({"size": [5, 5], "counts": "o" * 99}, "has run lengths"),
        ({"size": [5, 5], "counts": None}, "has run lengths None"),
    ],
)
def test_what_is_no_segmentation(written: object, message: str) -> None:
    with pytest.raises(DataError, match=f"^x {message}|^x has .*{message}"):
        segmentation_box("x", written)

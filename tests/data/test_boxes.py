"""Boxes within their image, which is 40 wide and 30 high."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikedet.data.boxes import count_issues, fit_box, repeated_boxes
from spikedet.data.dataset import BoxIssues, Sample

HW = (30, 40)
WRITTEN = (1.0, 2.0, 3.0, 4.5)


@pytest.mark.parametrize(
    ("edges", "box", "kind", "problem"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30), "", ""),
        ((-1, 0, 41, 30), (0, 0, 40, 30), "", ""),
        ((-1.5, 0, 40, 30), (0, 0, 40, 30), "clipped", "reaches outside the 40 x 30 image: 1, 2, 3, 4.5"),
        ((5, 5, float("inf"), 9), (5, 5, 40, 9), "clipped", "reaches outside"),
        ((5, 5, 5, 9), None, "dropped", "has no area: 1, 2, 3, 4.5"),
        ((5, 9, 6, 5), (5, 5, 6, 9), "swapped", "has swapped corners: 1, 2, 3, 4.5"),
        ((50, 9, 6, 5), (6, 5, 40, 9), "swapped", "has swapped corners: 1, 2, 3, 4.5 and reaches outside"),
        ((6, 5, 5, 5), None, "dropped", "has no area"),
        ((40, 0, 50, 9), None, "dropped", "has no area within the 40 x 30 image: 1, 2, 3, 4.5"),
        ((7, 7, 7 + 1e-12, 8), None, "dropped", "has no area within"),  # none is left in float32
    ],
)
def test_edges_are_clipped(edges: tuple[float, ...], box: tuple[float, ...] | None, kind: str, problem: str) -> None:
    fitted, found, text = fit_box(edges, HW, WRITTEN)
    assert (fitted, found) == (box, kind)
    assert text.startswith(problem) if problem else text == ""


finite = st.floats(allow_nan=False)


@given(st.tuples(finite, finite, finite, finite))
def test_what_is_kept_lies_within_the_image(edges: tuple[float, float, float, float]) -> None:
    box, kind, problem = fit_box(edges, HW, WRITTEN)
    assert bool(kind) == bool(problem)
    if box is None:
        assert kind == "dropped"
        return
    x0, y0, x1, y1 = box
    assert 0 <= x0 < x1 <= 40
    assert 0 <= y0 < y1 <= 30
    assert np.array(box, np.float32).tolist() == list(box)


def sample(*objects: tuple[int, tuple[float, ...]]) -> Sample:
    boxes_xyxy = np.array([box for _, box in objects], np.float32).reshape(-1, 4)
    labels = np.array([label for label, _ in objects], np.int64)
    flags = np.zeros(len(objects), np.bool_)
    return Sample("a", Path("d/a.jpg"), HW, boxes_xyxy, labels, flags, flags)


def test_boxes_that_are_there_twice() -> None:
    box, other = (1, 2, 3.5, 4), (1, 2, 3.5, 5)
    assert list(repeated_boxes([], ())) == []
    assert list(repeated_boxes([sample(), sample((0, box), (1, box), (0, other)), sample((0, box))], ("a", "b"))) == []
    twice = sample((1, box), (0, other), (1, other), (1, box), (0, other), (1, box))
    assert list(repeated_boxes([twice], ("cat", "dog"))) == [
        "d/a.jpg: 2 objects have the same class and box, cat at 1, 2, 3.5, 5; keep one",
        "d/a.jpg: 3 objects have the same class and box, dog at 1, 2, 3.5, 4; keep one",
    ]


def test_issues_are_counted_and_all_kept() -> None:
    assert count_issues([]) == BoxIssues()
    found = count_issues([("dropped", "a"), ("clipped", "b"), ("swapped", "c"), ("clipped", "d")])
    assert found == BoxIssues(dropped=1, clipped=2, examples=("a", "b", "c", "d"), swapped=1)

"""Boxes, scores and labels of one image: empty first, then what is refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from spikedet.detections import Detections, box_iou

TWO = Detections([[0, 0, 4, 5], [1, 1, 2, 2]], [0.9, 0.25], [1, 0])  # type: ignore[arg-type]


def test_empty() -> None:
    none = Detections.empty()
    assert none.boxes_xyxy.shape == (0, 4)
    assert (none.boxes_xyxy.dtype, none.scores.dtype, none.labels.dtype) == (np.float32, np.float32, np.int64)
    assert len(none) == len(none.above(0.5)) == 0
    assert none.to_records(["a"]) == []


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros((0, 4), np.float32)])
def test_no_boxes_in_any_form(boxes: object) -> None:
    assert Detections(boxes, [], []).boxes_xyxy.shape == (0, 4)  # type: ignore[arg-type]


def test_lists_become_arrays_of_the_stated_types() -> None:
    assert (TWO.boxes_xyxy.dtype, TWO.scores.dtype, TWO.labels.dtype) == (np.float32, np.float32, np.int64)
    assert TWO.boxes_xyxy.shape == (2, 4)
    assert len(TWO) == 2


@pytest.mark.parametrize(
    ("boxes", "scores", "labels", "counts"),
    [
        ([[0, 0, 1, 1]], [0.5, 0.5], [0], r"\[1, 2\]"),
        ([[0, 0, 1, 1]], [0.5], [], r"\[0, 1\]"),
        ([], [0.5], [0], r"\[0, 1\]"),
    ],
)
def test_lengths_must_agree(boxes: object, scores: object, labels: object, counts: str) -> None:
    with pytest.raises(ValueError, match=f"boxes, scores and labels must have one length, got {counts}"):
        Detections(boxes, scores, labels)  # type: ignore[arg-type]


def test_a_box_has_four_numbers() -> None:
    with pytest.raises(ValueError, match="reshape"):
        Detections([[0, 0, 1]], [0.5], [0])  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="boxes and scores must be finite"):
        Detections([[0, 0, 1, bad]], [0.5], [0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="boxes and scores must be finite"):
        Detections([[0, 0, 1, 1]], [bad], [0])  # type: ignore[arg-type]


def test_above_keeps_the_score_itself_and_makes_a_new_object() -> None:
    kept = TWO.above(0.25)
    assert kept is not TWO
    assert kept.scores.tolist() == TWO.scores.tolist()
    best = TWO.above(0.5)
    assert (best.boxes_xyxy.tolist(), best.labels.tolist()) == ([[0, 0, 4, 5]], [1])
    assert len(TWO) == 2


def test_records_are_plain_and_rounded() -> None:
    (record,) = Detections([[0.123, 1, 2, 3]], [0.1234567], [1]).to_records(["a", "b"])  # type: ignore[arg-type]
    assert record == {"label": 1, "class": "b", "score": 0.12346, "box_xyxy": [0.12, 1.0, 2.0, 3.0]}
    assert {type(record["label"]), type(record["score"])} == {int, float}


def test_detections_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        TWO.scores = np.zeros(2)  # type: ignore[misc, assignment]


def test_box_iou_of_nothing_and_of_boxes_without_area() -> None:
    assert box_iou(np.zeros((0, 4), np.float32), np.zeros((2, 4), np.float32)).shape == (0, 2)
    assert box_iou(np.zeros((1, 4), np.float32), np.zeros((2, 4), np.float32)).tolist() == [[0, 0]]


def test_box_iou_by_hand() -> None:
    a = np.array([[0, 0, 4, 2]], np.float32)
    b = np.array([[2, 0, 6, 2], [0, 0, 4, 2], [9, 9, 10, 10]], np.float32)
    # first: 2 x 2 shared, 8 + 8 - 4 = 12 in all
    assert box_iou(a, b).tolist() == [[4 / 12, 1, 0]]


def test_detections_for_supervision() -> None:
    found = Detections([[1, 2, 3, 4]], [0.5], [2]).to_supervision()
    assert (found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist()) == ([[1, 2, 3, 4]], [0.5], [2])
    assert len(Detections.empty().to_supervision()) == 0

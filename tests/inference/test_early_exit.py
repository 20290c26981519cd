"""When two outputs are the same, and when enough of them have been."""

from __future__ import annotations

import numpy as np
import pytest

from spikedet.detections import Detections
from spikedet.inference.early_exit import SAME_IOU, Stability, same

CAT, DOG = 0, 1
LEFT, RIGHT = [0, 0, 100, 100], [200, 0, 300, 100]


def output(*boxes: list[float], labels: list[int] | None = None, scores: list[float] | None = None) -> Detections:
    """Detections of cats, unless said otherwise."""
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores or [0.5] * count, np.float32),
        np.array(labels or [CAT] * count),
    )


NOTHING = Detections.empty()


def shifted(box: list[float], by: float) -> list[float]:
    """To the right; a box 100 wide then overlaps itself by (100 - by) / (100 + by)."""
    return [box[0] + by, box[1], box[2] + by, box[3]]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (NOTHING, NOTHING, True),
        (NOTHING, output(LEFT), False),
        (output(LEFT), NOTHING, False),
        (output(LEFT), output(LEFT), True),
        (output(LEFT), output(LEFT, scores=[0.59]), True),
        (output(LEFT), output(LEFT, scores=[0.61]), False),
        (output(LEFT), output(LEFT, scores=[0.39]), False),
        # Two boxes at one place: each has to find the one of its score.
        (output(LEFT, LEFT, scores=[0.9, 0.3]), output(LEFT, LEFT, scores=[0.3, 0.9]), True),
        (output(LEFT, LEFT, scores=[0.9, 0.3]), output(LEFT, LEFT, scores=[0.9, 0.9]), False),
        (output(LEFT), output(LEFT, labels=[DOG]), False),
        (output(LEFT), output(LEFT, RIGHT), False),
        (output(LEFT, RIGHT), output(LEFT), False),
        (output(LEFT), output(RIGHT), False),
        (output(LEFT, RIGHT), output(RIGHT, LEFT), True),
        (output(LEFT, RIGHT, labels=[CAT, DOG]), output(RIGHT, LEFT, labels=[DOG, CAT]), True),
        (output(LEFT, RIGHT, labels=[CAT, DOG]), output(RIGHT, LEFT, labels=[CAT, DOG]), False),
        (output(LEFT), output(shifted(LEFT, 5)), True),  # IoU 95 / 105 = 0.905
        (output(LEFT), output(shifted(LEFT, 6)), False),  # IoU 94 / 106 = 0.887
        (output(LEFT, RIGHT), output(LEFT, shifted(RIGHT, 6)), False),
        # A cat and a dog at one place are two things.
        (output(LEFT, LEFT, labels=[CAT, DOG]), output(LEFT, LEFT, labels=[DOG, CAT]), True),
        # Two boxes that both match one leave the other without a partner.
        (output(LEFT, shifted(LEFT, 2)), output(LEFT, RIGHT), False),
        (output(LEFT, RIGHT), output(LEFT, shifted(LEFT, 2)), False),
    ],
)
def test_same(one: Detections, other: Detections, expected: bool) -> None:
    assert same(one, other) is expected


@pytest.mark.parametrize(("iou", "expected"), [(0.5, True), (0.6, False)])
def test_the_overlap_that_is_asked_for(iou: float, expected: bool) -> None:
    assert same(output(LEFT), output(shifted(LEFT, 30)), iou) is expected  # IoU 70 / 130 = 0.54


@pytest.mark.parametrize(("score", "expected"), [(1.0, True), (0.4, True), (0.3, False)])
def test_the_difference_of_scores_that_is_asked_for(score: float, expected: bool) -> None:
    assert same(output(LEFT, scores=[0.9]), output(LEFT, scores=[0.55]), score=score) is expected
    stability = Stability(1, score)
    assert not stability.reached(output(LEFT, scores=[0.9]))
    assert stability.reached(output(LEFT, scores=[0.55])) is expected


def test_an_overlap_at_the_limit_is_enough() -> None:
    assert same(output([0, 0, 10, 10]), output([0, 0, 10, 9]), SAME_IOU)


def reached(steps: int, *outputs: Detections) -> list[bool]:
    stability = Stability(steps)
    return [stability.reached(found) for found in outputs]


def test_the_first_answer_has_none_to_be_compared_with() -> None:
    assert reached(1, output(LEFT)) == [False]
    assert reached(1, NOTHING) == [False]


@pytest.mark.parametrize("found", [NOTHING, output(LEFT, RIGHT, labels=[CAT, DOG])])
@pytest.mark.parametrize(("steps", "first"), [(1, 1), (2, 2), (3, 3)])
def test_so_many_answers_like_the_one_before(steps: int, first: int, found: Detections) -> None:
    assert reached(steps, *[found] * 5) == [index >= first for index in range(5)]


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_never_enough(steps: int) -> None:
    assert reached(steps, *[output(LEFT)] * 4) == [False] * 4


def test_another_answer_begins_again() -> None:
    cat, dog = output(LEFT), output(LEFT, labels=[DOG])
    assert reached(2, cat, cat, dog, dog, cat, cat, cat) == [False] * 6 + [True]


def test_nothing_at_first_and_boxes_later() -> None:
    assert reached(2, NOTHING, NOTHING, output(LEFT), output(LEFT), output(LEFT)) == [False] * 4 + [True]


def test_answers_are_compared_with_the_one_before_and_not_with_the_first() -> None:
    """A box may drift as long as every step is small."""
    drifting = [output(shifted(LEFT, by)) for by in (0, 4, 8, 12)]
    assert reached(3, *drifting) == [False, False, False, True]
    assert not same(drifting[0], drifting[-1])


def test_two_watchers_know_nothing_of_each_other() -> None:
    one, other = Stability(1), Stability(1)
    one.reached(output(LEFT))
    assert not other.reached(output(LEFT))
    assert one.reached(output(LEFT))

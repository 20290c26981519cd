"""VOC AP against arithmetic done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikedet.detections import Detections
from spikedet.evaluation.voc_ap import area_ap, eleven_point_ap, evaluate_voc, match_class, mean_ap

BOX, OTHER, FAR = (10, 10, 50, 50), (200, 200, 330, 330), (400, 10, 440, 40)


def test_no_detections_of_shape_0_4_give_zero(hand_made):
    result = evaluate_voc(*hand_made([[(BOX, 0, False)]], [[]]))
    assert result.eleven_point == (0, None) and result.area == (0, None)


def test_eleven_points_by_hand():
    # 2 objects, verdicts hit, miss, hit. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    # best precision at recall >= 0 ... 0.5 is 1 (6 points), at >= 0.6 ... 1 is 2/3 (5 points)
    assert eleven_point_ap(np.array([True, False, True]), 2) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_area_by_hand():
    # the same: recall 0 to 1/2 at precision 1, 1/2 to 1 at 2/3
    assert area_ap(np.array([True, False, True]), 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_area_envelope_by_hand():
    # miss, hit, hit, miss, hit of 4: precision 0, 1/2, 2/3, 1/2, 3/5, made monotone 2/3, 2/3, 2/3, 3/5, 3/5
    # hits add a recall of 1/4 each: (2/3 + 2/3 + 3/5) / 4; the fourth object is never found
    assert area_ap(np.array([False, True, True, False, True]), 4) == pytest.approx((2 / 3 + 2 / 3 + 3 / 5) / 4)


def test_recall_of_three_tenths_counts_for_the_fourth_point():
    # 3 of 10 found without error: points 0, 0.1, 0.2, 0.3 have precision 1
    assert eleven_point_ap(np.array([True] * 3), 10) == pytest.approx(4 / 11)


def test_a_second_detection_of_an_object_is_a_false_positive(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)]], [[(BOX, 0, 0.5), (BOX, 0, 0.9)]])
    hits, objects = match_class(dataset, detections, 0)
    assert hits.tolist() == [True, False] and objects == 1


def test_every_detection_of_a_difficult_object_is_left_out(hand_made):
    dataset, detections = hand_made(
        [[(BOX, 0, False), (OTHER, 0, True)]], [[(OTHER, 0, 0.9), (OTHER, 0, 0.8), (BOX, 0, 0.7), (FAR, 0, 0.6)]]
    )
    hits, objects = match_class(dataset, detections, 0)
    assert hits.tolist() == [True, False] and objects == 1


def test_the_object_with_the_largest_iou_decides(hand_made):
    # the second detection is nearest to the object already found; the devkit does not try the next best
    near = (10, 12, 50, 52)
    dataset, detections = hand_made([[(BOX, 0, False), (near, 0, False)]], [[(BOX, 0, 0.9), (BOX, 0, 0.8)]])
    hits, objects = match_class(dataset, detections, 0)
    assert hits.tolist() == [True, False] and objects == 2


def test_iou_of_exactly_one_half_is_a_hit(hand_made):
    dataset, detections = hand_made([[((0, 0, 8, 4), 0, False)]], [[((0, 0, 4, 4), 0, 0.9)]])
    assert match_class(dataset, detections, 0)[0].tolist() == [True]


def test_images_are_joined_by_score(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)], [(BOX, 0, False)]], [[(FAR, 0, 0.8)], [(BOX, 0, 0.9)]])
    assert match_class(dataset, detections, 0)[0].tolist() == [True, False]


def test_a_class_with_difficult_objects_only_has_no_ap(hand_made):
    result = evaluate_voc(*hand_made([[(BOX, 0, False), (OTHER, 1, True)]], [[(BOX, 0, 0.9), (FAR, 1, 0.9)]]))
    assert result.eleven_point == (1, None) and mean_ap(result.eleven_point) == 1
    assert mean_ap((None, None)) is None


def test_wrong_number_of_detections(hand_made):
    dataset, _ = hand_made([[(BOX, 0, False)]], [[]])
    with pytest.raises(ValueError, match="one Detections for each of 1 samples, got 0"):
        evaluate_voc(dataset, [])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), difficult=st.sampled_from([0.0, 0.3]))
def test_properties(random_made, seed, difficult):
    dataset, detections = random_made(seed, difficult=difficult)
    result = evaluate_voc(dataset, detections)
    assert all(0 <= ap <= 1 for ap in (*result.eleven_point, *result.area) if ap is not None)
    order = np.random.default_rng(seed).permutation(len(dataset))
    moved = evaluate_voc(dataset.subset(list(order)), [detections[i] for i in order])
    assert moved == result
    found = detections[0]
    boxes = np.concatenate([found.boxes_xyxy, [[900, 900, 940, 940]]])
    stray = Detections(boxes, np.append(found.scores, 0.0), np.append(found.labels, 0))
    worse = evaluate_voc(dataset, [stray, *detections[1:]])
    for before, after in zip(result.eleven_point + result.area, worse.eleven_point + worse.area, strict=True):
        assert before is after is None or after <= before

"""All measures together, in percent."""

from dataclasses import fields

import pytest

from spikedet.evaluation import APMeasures, measure

BOX, OTHER = (10, 10, 50, 50), (200, 200, 330, 330)
PERFECT = pytest.approx(100, abs=1e-9)  # pycocotools adds 2e-16 to the denominator of precision
MEANS = [field.name for field in fields(APMeasures) if field.name != "per_class"]


def test_no_detections_of_shape_0_4_give_zero(hand_made):
    measures = measure(*hand_made([[(BOX, 0, False)]], [[]]))
    assert (measures.AP, measures.AP50, measures.AP_M, measures.VOC07, measures.VOC_area) == (0, 0, 0, 0, 0)
    assert measures.AP_S is measures.AP_L is None
    assert measures.per_class["class1"] == {"AP": None, "AP50": None, "VOC07": None}


def test_nothing_to_find_gives_none_everywhere(hand_made):
    measures = measure(*hand_made([[(BOX, 0, True)]], [[(BOX, 0, 0.9)]]))
    assert all(getattr(measures, name) is None for name in MEANS)


def test_perfect_detections_give_100(hand_made):
    truth = [(BOX, 0, False), (OTHER, 1, False)]
    measures = measure(*hand_made([truth], [[(BOX, 0, 0.9), (OTHER, 1, 0.8)]]))
    assert all(getattr(measures, name) == PERFECT for name in MEANS if name != "AP_S")
    assert measures.per_class == {f"class{i}": dict.fromkeys(("AP", "AP50", "VOC07"), PERFECT) for i in range(2)}


def test_the_iou_thresholds_by_hand(hand_made):
    # 40 x 40 object, 40 x 31 detection: IoU 0.775, a hit at 0.5, 0.55, ..., 0.75, six of ten thresholds
    measures = measure(*hand_made([[(BOX, 0, False)]], [[((10, 10, 50, 41), 0, 0.9)]]))
    assert (measures.AP50, measures.AP75) == (PERFECT, PERFECT)
    assert pytest.approx(60) == measures.AP


def test_the_means_are_those_of_the_classes(random_made):
    measures = measure(*random_made(3, images=12, difficult=0.2))
    for name in ("AP", "AP50", "VOC07"):
        values = [scores[name] for scores in measures.per_class.values()]
        assert getattr(measures, name) == pytest.approx(sum(values) / len(values))


def test_wrong_detections_are_refused(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)]], [[(BOX, 5, 0.9)]])
    with pytest.raises(ValueError, match="labels must be in"):
        measure(dataset, detections)
    with pytest.raises(ValueError, match="got 0"):
        measure(dataset, [])

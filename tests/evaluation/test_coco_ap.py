"""pycocotools with difficult objects ignored, and crowds."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spikedet.data import load_dataset
from spikedet.detections import Detections
from spikedet.evaluation import coco_ap
from spikedet.evaluation.coco_ap import AREAS, evaluate_coco, match_coco

BOX, OTHER, FAR = (10, 10, 50, 50), (200, 200, 330, 330), (400, 10, 440, 40)
PERFECT = pytest.approx(1, abs=1e-12)  # pycocotools adds 2e-16 to the denominator of precision


def test_no_detections_of_shape_0_4_give_zero(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)]], [[]])
    assert detections[0].boxes_xyxy.shape == (0, 4)
    assert evaluate_coco(dataset, detections).ap() == 0


def test_no_objects_give_none(hand_made):
    dataset, detections = hand_made([[]], [[(BOX, 0, 0.9)]])
    assert evaluate_coco(dataset, detections).ap() is None


def test_an_empty_dataset_gives_none(hand_made):
    assert evaluate_coco(*hand_made([], [])).ap() is None


def test_a_perfect_detection(hand_made):
    result = evaluate_coco(*hand_made([[(BOX, 1, False)]], [[(BOX, 1, 0.9)]]))
    assert result.ap() == PERFECT == result.ap(iou=0.75, label=1, area="medium")  # 40 x 40 pixels are medium
    assert result.ap(label=0) is None and result.ap(area="small") is None and result.ap(area="large") is None


def test_prints_nothing(hand_made, capsys):
    evaluate_coco(*hand_made([[(BOX, 0, False)]], [[]]))
    assert capsys.readouterr().out == ""


def test_a_difficult_object_is_neither_hit_nor_miss(hand_made):
    truth = [(BOX, 0, False), (OTHER, 0, True)]
    with_hit = evaluate_coco(*hand_made([truth], [[(OTHER, 0, 0.9), (BOX, 0, 0.8)]]))
    without = evaluate_coco(*hand_made([truth], [[(BOX, 0, 0.8)]]))
    assert with_hit.ap() == without.ap() == PERFECT


def test_a_difficult_object_takes_one_detection_only(hand_made):
    # the second box on the difficult object is a false positive before the only hit: precision 1/2 at every recall;
    # the iscrowd semantic would swallow both
    found = [(OTHER, 0, 0.9), (OTHER, 0, 0.8), (BOX, 0, 0.7)]
    result = evaluate_coco(*hand_made([[(BOX, 0, False), (OTHER, 0, True)]], [found]))
    assert result.ap() == pytest.approx(0.5)


def test_a_difficult_object_needs_ordinary_iou(hand_made):
    # a part of the difficult object has intersection over its own area 1, but IoU 0.09: a false positive
    part = (200, 200, 240, 240)
    result = evaluate_coco(*hand_made([[(BOX, 0, False), (OTHER, 0, True)]], [[(part, 0, 0.9), (BOX, 0, 0.7)]]))
    assert result.ap() == pytest.approx(0.5)


def test_a_crowd_takes_any_number_of_detections_by_their_own_area(hand_made):
    found = [(OTHER, 0, 0.9), (OTHER, 0, 0.8), ((200, 200, 240, 240), 0, 0.75), (BOX, 0, 0.7)]
    difficult, crowd = (
        evaluate_coco(*hand_made([[(BOX, 0, False, False), (OTHER, 0, True, flag)]], [found])) for flag in (False, True)
    )
    assert difficult.ap() == pytest.approx(1 / 3)
    assert crowd.ap() == PERFECT


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_a_coco_file(random_made, seed, tmp_path):
    made, detections = random_made(seed, images=10, difficult=0.3, crowd=1.0)
    corners = [(index, sample.boxes_xyxy.astype(float)) for index, sample in enumerate(made.samples)]
    boxes = [(index, [*box[:2], *(box[2:] - box[:2])]) for index, found in corners for box in found]
    labels, crowds = (np.concatenate([getattr(s, name) for s in made.samples]) for name in ("labels", "crowd"))
    assert crowds.any() and not crowds.all()
    annotations = [
        {"id": number, "image_id": index + 1, "category_id": int(label), "bbox": box, "area": box[2] * box[3]}
        | {"iscrowd": int(crowd)}
        for number, ((index, box), label, crowd) in enumerate(zip(boxes, labels, crowds, strict=True), start=1)
    ]
    content = {
        "images": [{"id": index + 1, "file_name": f"{index}.jpg"} for index in range(len(made))],
        "categories": [{"id": label, "name": name} for label, name in enumerate(made.class_names)],
        "annotations": annotations,
    }
    file = tmp_path / "instances_val.json"
    file.write_text(json.dumps(content))
    for index in range(len(made)):
        Image.new("RGB", (600, 600)).save(tmp_path / f"{index}.jpg")
    results = [
        {"image_id": index + 1, "category_id": int(label), "score": float(score)}
        | {"bbox": [float(edge) for edge in (*box[:2], *(box[2:].astype(float) - box[:2]))]}
        for index, found in enumerate(detections)
        for box, label, score in zip(found.boxes_xyxy, found.labels, found.scores, strict=True)
    ]
    truth = COCO(file)
    evaluator = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    ours = evaluate_coco(load_dataset(file, "val"), detections)
    assert 0 < ours.ap() < 1
    np.testing.assert_array_equal(ours.precision, evaluator.eval["precision"][..., -1])


def test_a_class_with_difficult_objects_only_is_left_out_of_the_mean(hand_made):
    result = evaluate_coco(*hand_made([[(BOX, 0, False), (OTHER, 1, True)]], [[(BOX, 0, 0.9), (FAR, 1, 0.9)]]))
    assert result.ap(label=1) is None and result.ap() == PERFECT


@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_cocoeval_where_nothing_is_difficult(random_made, seed, monkeypatch):
    dataset, detections = random_made(seed, images=10)
    ours = evaluate_coco(dataset, detections)
    monkeypatch.setattr(coco_ap, "difficult_coco_eval", lambda: COCOeval)
    plain = evaluate_coco(dataset, detections)
    assert 0 < ours.ap() < 1
    np.testing.assert_array_equal(ours.precision, plain.precision)


def test_our_mean_is_the_one_summarize_prints(random_made, capsys):
    dataset, detections = random_made(1, images=10)
    evaluator = match_coco(dataset, detections)
    evaluator.params.maxDets = evaluator._paramsEval.maxDets = [1, 10, 100]
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    result = evaluate_coco(dataset, detections)
    expected = [result.ap(), result.ap(iou=0.5), result.ap(iou=0.75), *(result.ap(area=a) for a in AREAS[1:])]
    np.testing.assert_allclose(evaluator.stats[:6], expected, atol=1e-12)


def test_wrong_number_of_detections(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)]], [[]])
    with pytest.raises(ValueError, match="one Detections for each of 1 samples, got 2"):
        evaluate_coco(dataset, detections * 2)


def test_unknown_label(hand_made):
    with pytest.raises(ValueError, match=r"image0: labels must be in \[0, 1\], got 2 to 2"):
        evaluate_coco(*hand_made([[(BOX, 0, False)]], [[(BOX, 2, 0.5)]]))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), difficult=st.sampled_from([0.0, 0.3]))
def test_properties(random_made, seed, difficult):
    dataset, detections = random_made(seed, images=4, difficult=difficult)
    ap = evaluate_coco(dataset, detections).ap()
    if ap is None:
        return
    assert 0 <= ap <= 1
    order = np.random.default_rng(seed).permutation(len(dataset))
    assert evaluate_coco(dataset.subset(list(order)), [detections[i] for i in order]).ap() == pytest.approx(ap)
    worse = [_with_false_positive(detections[0]), *detections[1:]]
    assert evaluate_coco(replace(dataset, name="same"), worse).ap() <= ap + 1e-12


def _with_false_positive(found: Detections) -> Detections:
    boxes = np.concatenate([found.boxes_xyxy, [[900, 900, 940, 940]]])
    return Detections(boxes, np.append(found.scores, 0.0), np.append(found.labels, 0))

"""The weighted AP against COCOeval, and the interval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikedet.evaluation import bootstrap, paired_loss, resample
from spikedet.evaluation.bootstrap import APResampler
from spikedet.evaluation.coco_ap import evaluate_coco

BOX = (10, 10, 50, 50)


def paired_bootstrap(dataset, a, b, draws=1000, seed=0):
    """Both detectors on the same draws."""
    return paired_loss(resample(dataset, a, draws, seed), resample(dataset, b, draws, seed))


def test_no_detections_of_shape_0_4(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)], []], [[], []])
    assert APResampler(dataset, detections).ap([[1, 1], [0, 2]]).tolist()[0] == 0
    assert paired_bootstrap(dataset, detections, detections, draws=20) == (0, (0, 0))


def test_no_draws_give_no_ap(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)]], [[]])
    assert APResampler(dataset, detections).ap(np.zeros((0, 1))).shape == (0,)


def test_a_draw_without_objects_is_nan(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)], []], [[(BOX, 0, 0.9)], []])
    ap = APResampler(dataset, detections).ap([[1, 1], [0, 2]])
    assert ap[0] == pytest.approx(100, abs=1e-9) and np.isnan(ap[1])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), difficult=st.sampled_from([0.0, 0.4]), crowd=st.sampled_from([0.0, 0.5]))
def test_weights_of_one_give_cocoeval(random_made, seed, difficult, crowd):
    dataset, detections = random_made(seed, images=5, difficult=difficult, crowd=crowd)
    expected = evaluate_coco(dataset, detections).ap()
    ap = APResampler(dataset, detections).ap(np.ones((1, 5)))[0]
    assert np.isnan(ap) if expected is None else ap == pytest.approx(100 * expected, abs=1e-9)


@pytest.mark.parametrize("difficult", [0.0, 0.3])
def test_draws_equal_cocoeval_on_repeated_images(random_made, difficult):
    dataset, detections = random_made(11, images=5, difficult=difficult)
    weights = np.random.default_rng(0).multinomial(5, [0.2] * 5, size=12)
    drawn = APResampler(dataset, detections).ap(weights)
    for row, ap in zip(weights, drawn, strict=True):
        indices = list(np.repeat(np.arange(5), row))
        expected = evaluate_coco(dataset.subset(indices), [detections[i] for i in indices]).ap()
        assert ap == pytest.approx(100 * expected, abs=1e-9)


def test_chunks_do_not_change_the_result(random_made, monkeypatch):
    dataset, a = random_made(5)
    b = [found.above(0.4) for found in a]
    whole = paired_bootstrap(dataset, a, b, draws=50)
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 40)
    assert paired_bootstrap(dataset, a, b, draws=50) == whole


def test_the_same_detections_lose_nothing(random_made):
    dataset, detections = random_made(2)
    assert paired_bootstrap(dataset, detections, detections, draws=100) == (0, (0, 0))


def test_the_interval_contains_the_loss_and_depends_on_the_seed_only(random_made, monkeypatch):
    dataset, a = random_made(7, images=30)
    b = [found.above(0.5) for found in a]
    loss, (low, high) = paired_bootstrap(dataset, a, b, draws=400)
    assert loss == pytest.approx(100 * (evaluate_coco(dataset, a).ap() - evaluate_coco(dataset, b).ap()))
    assert low < loss < high
    assert paired_bootstrap(dataset, a, b, draws=400) == (loss, (low, high))
    assert paired_bootstrap(dataset, a, b, draws=400, seed=1) != (loss, (low, high))
    monkeypatch.setattr(bootstrap, "CONFIDENCE", 0.5)
    narrow = paired_bootstrap(dataset, a, b, draws=400)[1]
    assert low < narrow[0] < narrow[1] < high


def test_exchanging_a_and_b_changes_the_sign(random_made):
    dataset, a = random_made(7)
    b = [found.above(0.5) for found in a]
    loss, (low, high) = paired_bootstrap(dataset, a, b, draws=50)
    assert paired_bootstrap(dataset, b, a, draws=50) == (-loss, pytest.approx((-high, -low)))


def test_wrong_arguments(hand_made):
    dataset, detections = hand_made([[(BOX, 0, False)]], [[]])
    with pytest.raises(ValueError, match=r"shape \[draws, 1\], got \[1, 2\]"):
        APResampler(dataset, detections).ap(np.ones((1, 2)))
    empty, nothing = hand_made([], [])
    with pytest.raises(ValueError, match="made test: no object to find"):
        paired_bootstrap(empty, nothing, nothing)

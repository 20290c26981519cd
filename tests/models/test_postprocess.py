"""Decoding against ultralytics' own head, and boxes back in the image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from ultralytics.nn.modules import Detect
from ultralytics.utils.nms import non_max_suppression

from spikedet.models.postprocess import MAX_DETECTIONS, decode_head, suppressed, to_detections


@pytest.mark.parametrize("bins", [4, 16])
@pytest.mark.parametrize("channels", [(8,), (8, 16, 8)])
@torch.no_grad()
def test_decoding_is_that_of_detect(bins: int, channels: tuple[int, ...]) -> None:
    """Softmax and its expectation in another order of sums: 1e-4 of a pixel in 200."""
    torch.manual_seed(0)
    head = Detect(3, bins, ch=channels).eval()
    head.stride = torch.tensor([8.0 * 2**i for i in range(len(channels))])
    maps = [torch.randn(2, c, 12 >> i, 20 >> i) for i, c in enumerate(channels)]
    for branch in head.cv2:  # fresh weights give flat distributions, all of the same mean
        branch[-1].weight.mul_(20)
    expected, _ = head([m.clone() for m in maps])
    boxes = [branch(m) for branch, m in zip(head.cv2, maps, strict=True)]
    classes = [branch(m) for branch, m in zip(head.cv3, maps, strict=True)]
    got = decode_head(boxes, classes, head.stride)
    assert expected[:, 2:4].std() > 5  # pixels
    assert got.shape == (2, 4 + 3, sum(m.shape[2] * m.shape[3] for m in maps))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


def test_one_cell_by_hand() -> None:
    """Distances (left, top, right, bottom) of (1, 0, 2, 3) cells from the centre of the cell at row 1, column 2."""
    boxes = torch.full((1, 16, 2, 3), -100.0)
    for side, distance in enumerate((1, 0, 2, 3)):
        boxes[0, 4 * side + distance, 1, 2] = 100.0
    classes = torch.zeros(1, 2, 2, 3)
    classes[0, 1, 1, 2] = 100.0
    cell = decode_head([boxes], [classes], torch.tensor([8.0]))[0, :, 1 * 3 + 2]
    # centre (2.5, 1.5): corners (1.5, 1.5) and (4.5, 4.5), times 8
    assert cell.tolist() == [24.0, 24.0, 24.0, 24.0, 0.5, 1.0]


def predictions(*rows: tuple[float, float, float, float, float, float]) -> Tensor:
    """``[1, 4 + 2, A]`` from (cx, cy, w, h, score of class 0, score of class 1)."""
    return torch.tensor(rows).reshape(-1, 6).T.unsqueeze(0).contiguous()


def test_no_prediction_above_the_threshold() -> None:
    low = predictions((16, 16, 8, 8, 0.0001, 0.0002))
    (found,) = to_detections(low, 32, [(32, 32)])
    assert len(found) == 0
    assert found.boxes_xyxy.shape == (0, 4)


def test_no_cells_at_all() -> None:
    (found,) = to_detections(torch.zeros(1, 6, 0), 32, [(32, 32)])
    assert len(found) == 0


def test_boxes_come_back_in_the_image_s_pixels_and_within_it() -> None:
    """A 40 x 80 image in a 32-pixel input: gain 0.4, 16 rows of image between 8 rows of grey."""
    found = to_detections(
        predictions((16, 16, 8, 8, 0.9, 0.0), (0, 2, 20, 20, 0.0, 0.6), (30, 30, 20, 20, 0.5, 0.0)), 32, [(40, 80)]
    )[0]
    assert found.boxes_xyxy.tolist() == [[30, 10, 50, 30], [0, 0, 25, 10], [50, 30, 80, 40]]
    assert found.labels.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6, 0.5])


def test_the_weaker_of_two_boxes_of_a_class_goes_and_another_class_stays() -> None:
    same = (16, 16, 8, 8)
    (found,) = to_detections(
        predictions((*same, 0.9, 0.0), (*same, 0.8, 0.0), (*same, 0.0, 0.7)), 32, [(32, 32)], confidence=0.25
    )
    assert found.labels.tolist() == [0, 1]


def test_a_cell_may_name_two_classes() -> None:
    (found,) = to_detections(predictions((16, 16, 8, 8, 0.9, 0.4)), 32, [(32, 32)])
    assert sorted(found.labels.tolist()) == [0, 1]


def test_confidence_and_overlap_are_settings() -> None:
    rows = predictions((16, 16, 8, 8, 0.9, 0.0), (18, 16, 8, 8, 0.3, 0.0))  # overlap 6/10
    assert [len(to_detections(rows, 32, [(32, 32)], c, i)[0]) for c, i in ((0.2, 0.7), (0.5, 0.7), (0.2, 0.5))] == [
        2,
        1,
        1,
    ]


def test_at_most_a_hundred_boxes_the_best_ones() -> None:
    rows = [(4.0 + 8 * (i % 20), 4.0 + 8 * (i // 20), 6.0, 6.0, 0.1 + i / 1000, 0.0) for i in range(200)]
    (found,) = to_detections(predictions(*rows), 160, [(160, 160)])
    assert len(found) == MAX_DETECTIONS == 100
    assert found.scores.min() > 0.19


def test_each_image_has_its_own_size_and_the_input_stays() -> None:
    both = predictions((16, 16, 8, 8, 0.9, 0.0)).repeat(2, 1, 1)
    before = both.clone()
    square, wide = to_detections(both, 32, [(64, 64), (40, 80)])
    assert square.boxes_xyxy.tolist() == [[24, 24, 40, 40]]
    assert wide.boxes_xyxy.tolist() == [[30, 10, 50, 30]]
    assert torch.equal(both, before)


@pytest.mark.parametrize("crowd", [3, 400])
def test_many_small_scores_change_nothing(crowd: int) -> None:
    """Every cell of every class above the confidence: the same detections as if all candidates were looked at.

    With few places, where all boxes suppress each other, the first candidates do not give enough of them.
    """
    random = torch.Generator().manual_seed(crowd)
    places = 40 + 500 * torch.rand(crowd, 2, generator=random)
    centres = places[torch.randint(crowd, (1500,), generator=random)] + torch.rand(1500, 2, generator=random)
    boxes = torch.cat([centres, torch.full((1500, 2), 30.0)], 1)
    scores = 0.01 + 0.9 * torch.rand(1500, 5, generator=random) ** 4
    predictions = torch.cat([boxes, scores], 1).T.unsqueeze(0).repeat(2, 1, 1)
    expected = non_max_suppression(predictions.clone(), 0.001, 0.7, multi_label=True, max_det=MAX_DETECTIONS)
    for rows, whole in zip(suppressed(predictions, 0.001, 0.7), expected, strict=True):
        assert torch.equal(rows, whole)

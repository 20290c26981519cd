"""Differences of an exported file from its network: what is compared, and what is counted."""

from __future__ import annotations

import pytest
import torch

from spikedet.exports import Outputs
from spikedet.exports.check import SCORED, difference


def decoded(score: float = 0.5) -> torch.Tensor:
    """Two images, three cells, two classes."""
    made = torch.zeros(2, 6, 3)
    made[:, :4] = torch.arange(12).float().view(4, 3)
    made[:, 4:, 0] = score
    return made


def test_the_largest_of_boxes_and_scores_over_images_and_steps() -> None:
    other = decoded()
    other[1, 2, 0] += 3.0  # a side of the box with a score
    other[0, 3, 2] -= 5.0  # of one without
    other[1, 5, 1] += 0.25
    spikes = torch.tensor([7.0, 9.0]), torch.tensor([7.0, 5.0])
    same, moved = Outputs(decoded(), spikes[0]), Outputs(other, spikes[1])
    found = difference({2: same, 4: moved}, {2: same, 4: same})
    assert (found.boxes_px, found.scored_px, found.scores, found.spikes) == (5.0, 3.0, 0.25, 4)
    assert found.mean_score == pytest.approx(0.25 / 12)
    text = "largest difference: boxes 5 px (3 px where a score is 0.05 or more), scores 0.25, spikes of an image 4"
    assert str(found) == text


def test_no_score_and_no_spikes() -> None:
    low = Outputs(decoded(SCORED / 2))
    found = difference({0: low}, {0: low})
    assert (found.scored_px, found.spikes) == (None, None)
    assert str(found) == "largest difference: boxes 0 px, scores 0"


def test_detections_are_matched_by_label_and_order() -> None:
    rows = torch.tensor([[0.0, 0, 10, 10, 0.9, 1], [5, 5, 9, 9, 0.5, 0], [1, 1, 2, 2, 0.4, 1]])
    other = rows[[1, 0]].clone()
    other[1, 2] += 0.5
    other[0, 4] -= 0.125
    found = difference({0: Outputs(detections=[other])}, {0: Outputs(detections=[rows])})
    assert (found.boxes_px, found.scores, found.detections) == (0.5, 0.125, 1)
    assert str(found).endswith("detections 1")
    none = difference({0: Outputs(detections=[rows[:0]])}, {0: Outputs(detections=[rows[:0]])})
    assert (none.boxes_px, none.scores, none.detections) == (0.0, 0.0, 0)

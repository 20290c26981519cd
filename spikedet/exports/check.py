"""A file that was exported held against its network, on images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spikedet.exports.subject import Outputs

MOST_MEAN_SCORE = 1e-3
"""Mean difference of scores that rounding may leave, where single levels or spikes move; wrong layers leave tenths."""

SCORED = 0.05
"""Score from which a box may matter to somebody."""


@dataclass(frozen=True)
class Difference:
    """Of a file's outputs from the network's, over all images, cells and time steps.

    Attributes:
        boxes_px: largest of a box's center, width or height, in pixels of the input.
        scores: largest of a score.
        mean_score: mean of all scores.
        scored_px: as boxes_px, of the boxes that the network gives a score of SCORED; None without one.
        spikes: largest of an image's spike count; None where nothing spikes.
        detections: how many more or fewer there are, after non-maximum suppression; None before it.
    """

    boxes_px: float
    scores: float
    mean_score: float
    scored_px: float | None = None
    spikes: int | None = None
    detections: int | None = None

    def __str__(self) -> str:
        text = f"largest difference: boxes {self.boxes_px:.2g} px, scores {self.scores:.2g}"
        if self.scored_px is not None:
            text = text.replace(" px,", f" px ({self.scored_px:.2g} px where a score is {SCORED} or more),")
        if self.spikes is not None:
            text += f", spikes of an image {self.spikes}"
        return text + (f", detections {self.detections}" if self.detections else "")


def difference(found: Mapping[int, Outputs], expected: Mapping[int, Outputs]) -> Difference:
    """Compare outputs by time step; ``expected`` has what ``found`` has."""
    pairs = [(found[t], expected[t]) for t in expected]
    counts = [(a.spikes - b.spikes).abs().max() for a, b in pairs if a.spikes is not None and b.spikes is not None]
    spikes = int(torch.stack(counts).max()) if counts else None
    if all(a.detections is not None for a, _ in pairs):
        return _of_detections(pairs, spikes)
    mine, wanted = (torch.stack([_decoded(outputs) for outputs in side]) for side in zip(*pairs, strict=True))
    boxes, scores = (mine - wanted).abs().split((4, mine.shape[2] - 4), 2)
    scored = boxes.amax(2)[wanted[:, :, 4:].amax(2) >= SCORED]
    largest = float(scored.max()) if len(scored) else None
    return Difference(float(boxes.max()), float(scores.max()), float(scores.mean((1, 2, 3)).max()), largest, spikes)


def _decoded(outputs: Outputs) -> Tensor:
    assert outputs.decoded is not None
    return outputs.decoded.double()


def _of_detections(pairs: list[tuple[Outputs, Outputs]], spikes: int | None) -> Difference:
    """Boxes are matched by label and order of scores; what has no partner is counted."""
    boxes, scores, unmatched = [0.0], [0.0], 0
    for found, expected in pairs:
        for mine, other in zip(found.detections or (), expected.detections or (), strict=True):
            for label in {*mine[:, 5].tolist(), *other[:, 5].tolist()}:
                a, b = (rows[rows[:, 5] == label] for rows in (mine, other))
                a, b = (rows[rows[:, 4].argsort(descending=True, stable=True)] for rows in (a, b))
                common = min(len(a), len(b))
                unmatched += max(len(a), len(b)) - common
                if common:
                    boxes.append(float((a[:common, :4] - b[:common, :4]).abs().max()))
                    scores.append(float((a[:common, 4] - b[:common, 4]).abs().max()))
    return Difference(max(boxes), max(scores), sum(scores) / len(scores), None, spikes, unmatched)

"""Early exit: when the outputs of a network have stopped changing."""

from __future__ import annotations

import numpy as np

from spikedet.detections import Detections, box_iou

SAME_IOU = 0.9
"""Overlap from which two boxes of one class count as the same."""

SAME_SCORE = 0.1
"""Largest difference of two scores that count as the same."""


class Stability:
    """Watches the detections of one image step by step.

    Args:
        steps: how many outputs in a row must have the same boxes and scores as the one before; 0 is never satisfied.
        score: largest difference of two scores that count as the same.
    """

    def __init__(self, steps: int, score: float = SAME_SCORE) -> None:
        self._wanted, self._score, self._same = steps, score, 0
        self._last: Detections | None = None

    def reached(self, detections: Detections) -> bool:
        """Take the next output; True once enough of them have been the same."""
        self._same = self._same + 1 if self._last is not None and same(self._last, detections, score=self._score) else 0
        self._last = detections
        return 0 < self._wanted <= self._same


def same(one: Detections, other: Detections, iou: float = SAME_IOU, score: float = SAME_SCORE) -> bool:
    """Whether two outputs have the same boxes: each finds one of its class, with about its score, in the other."""
    if len(one.labels) != len(other.labels):
        return False
    if not len(one.labels):
        return True
    overlap = box_iou(one.boxes_xyxy, other.boxes_xyxy)
    overlap[one.labels[:, None] != other.labels[None]] = 0
    overlap[np.abs(one.scores[:, None] - other.scores[None]) > score] = 0
    for _ in range(len(one.labels)):  # the two that overlap most find each other first
        row, column = divmod(int(overlap.argmax()), len(other.labels))
        if overlap[row, column] < iou:
            return False
        overlap[row], overlap[:, column] = -1, -1
    return True

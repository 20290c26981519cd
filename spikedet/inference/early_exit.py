"""Early exit: when the outputs of a network have stopped changing."""

from __future__ import annotations

from spikedet.detections import Detections, box_iou

SAME_IOU = 0.9
"""Overlap from which two boxes of one class count as the same."""


class Stability:
    """Watches the detections of one image step by step.

    Args:
        steps: how many outputs in a row must have the same boxes as the one before; 0 is never satisfied.
    """

    def __init__(self, steps: int) -> None:
        self._wanted, self._same = steps, 0
        self._last: Detections | None = None

    def reached(self, detections: Detections) -> bool:
        """Take the next output; True once enough of them have been the same."""
        self._same = self._same + 1 if self._last is not None and same(self._last, detections) else 0
        self._last = detections
        return 0 < self._wanted <= self._same


def same(one: Detections, other: Detections, iou: float = SAME_IOU) -> bool:
    """Whether two outputs have the same boxes: each finds one of its class in the other, one to one."""
    if len(one.labels) != len(other.labels):
        return False
    if not len(one.labels):
        return True
    overlap = box_iou(one.boxes_xyxy, other.boxes_xyxy)
    overlap[one.labels[:, None] != other.labels[None]] = 0
    for _ in range(len(one.labels)):  # the two that overlap most find each other first
        row, column = divmod(int(overlap.argmax()), len(other.labels))
        if overlap[row, column] < iou:
            return False
        overlap[row], overlap[:, column] = -1, -1
    return True

"""Boxes, scores and labels of one image, validated once where they are made."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Detections:
    """Detections of one image, highest score first or in any order.

    Attributes:
        boxes_xyxy: float32 ``[N, 4]``, corners in pixels of the original image (continuous edges).
        scores: float32 ``[N]`` in [0, 1].
        labels: int64 ``[N]``, index into the class names.
        track_ids: of boxes followed through a video, one each; None for one that is not on a track. Empty without.

    Raises:
        ValueError: if the shapes disagree or a value is not finite.
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    track_ids: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes_xyxy", np.asarray(self.boxes_xyxy, np.float32).reshape(-1, 4))
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float32).reshape(-1))
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64).reshape(-1))
        counts = {len(self.boxes_xyxy), len(self.scores), len(self.labels), len(self.track_ids) or len(self.labels)}
        if len(counts) != 1:
            raise ValueError(f"boxes, scores and labels must have one length, got {sorted(counts)}")
        if not (np.isfinite(self.boxes_xyxy).all() and np.isfinite(self.scores).all()):
            raise ValueError("boxes and scores must be finite")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> Detections:
        """No detections: boxes of shape ``[0, 4]``."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def above(self, score: float) -> Detections:
        """Those with at least this score, as a new object."""
        keep = self.scores >= score
        ids = tuple(itertools.compress(self.track_ids, keep))
        return Detections(self.boxes_xyxy[keep], self.scores[keep], self.labels[keep], ids)

    def scaled(self, ratio: float) -> Detections:
        """The same on an image that many times as large, as a new object."""
        return replace(self, boxes_xyxy=self.boxes_xyxy * np.float32(ratio))

    def to_supervision(self) -> Any:
        """The same as a ``supervision.Detections``."""
        from supervision import Detections as SupervisionDetections  # slow to import

        return SupervisionDetections(
            xyxy=self.boxes_xyxy.copy(), confidence=self.scores.copy(), class_id=self.labels.copy()
        )

    def to_records(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """JSON-ready records: ``{"label", "class", "score", "box_xyxy"}`` (and ``"track_id"``) per detection."""
        records: list[dict[str, Any]] = [
            {
                "label": int(label),
                "class": class_names[label],
                "score": round(float(score), 5),
                "box_xyxy": [round(float(v), 2) for v in box],
            }
            for box, score, label in zip(self.boxes_xyxy, self.scores, self.labels, strict=True)
        ]
        for record, track_id in zip(records, self.track_ids, strict=False):
            record["track_id"] = track_id
        return records


def to_arrays(found: Sequence[Detections]) -> Arrays:
    """``boxes`` ``[M, 4]``, ``scores`` and ``labels`` ``[M]`` of all images, and ``counts`` ``[images]``."""
    return {
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(d.boxes_xyxy for d in found)]),
        "scores": np.concatenate([np.zeros(0, np.float32), *(d.scores for d in found)]),
        "labels": np.concatenate([np.zeros(0, np.int64), *(d.labels for d in found)]),
        "counts": np.array([len(d) for d in found], np.int64),
    }


def from_arrays(arrays: Arrays) -> list[Detections]:
    """What ``to_arrays`` was given. Raises KeyError or ValueError if the arrays are not its."""
    if not len(arrays["counts"]):
        return []
    ends = np.cumsum(arrays["counts"])[:-1]
    parts = (np.split(arrays[name], ends) for name in ("boxes", "scores", "labels"))
    return [Detections(*rows) for rows in zip(*parts, strict=True)]


def box_iou(boxes_a: npt.NDArray[np.float32], boxes_b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """IoU ``[A, B]`` of boxes_xyxy ``[A, 4]`` and ``[B, 4]`` in pixels; 0 where both have no area."""
    a, b = boxes_a.astype(np.float64)[:, None], boxes_b.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).clip(0).prod(-1) + (b[..., 2:] - b[..., :2]).clip(0).prod(-1) - shared
    iou: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou

"""Boxes followed from frame to frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import supervision as sv

from spikedet.common.errors import ConfigError
from spikedet.detections import Detections

LEAST_SCORE = 0.1
"""A box as weak as this may go on with a track, as in ByteTrack; it does not start one."""


def import_trackers() -> Any:
    """The package ``trackers``. Raises ConfigError where it is not installed."""
    try:
        import trackers
    except ImportError as error:
        raise ConfigError(f"tracking needs the package trackers ({error}); pip install trackers") from error
    return trackers


class ByteTracker:
    """ByteTrack (Zhang et al., 2022) of the package ``trackers``: strong boxes first, then weak ones.

    Args:
        fps: frames per second; a lost track is kept for a second.
        confidence: score from which a box may start a track.

    Raises:
        ConfigError: the package is not installed.
    """

    least_score = LEAST_SCORE
    """Boxes from this score on are of use to it."""

    def __init__(self, fps: float, confidence: float) -> None:
        self._tracker = import_trackers().ByteTrackTracker(
            frame_rate=fps, track_activation_threshold=confidence, high_conf_det_threshold=confidence
        )

    def update(self, detections: Detections) -> Detections:
        """The boxes of the next frame with ``track_ids``, None where it is not on a track or not seen before."""
        found = sv.Detections(
            xyxy=detections.boxes_xyxy.astype(float),
            confidence=detections.scores,
            class_id=detections.labels.astype(int),
            data={"index": np.arange(len(detections))},
        )
        ids: list[int | None] = [None] * len(detections)
        tracked = self._tracker.update(found)
        for index, track_id in zip(tracked.data.get("index", ()), tracked.tracker_id, strict=True):
            ids[int(index)] = int(track_id) if track_id >= 0 else None
        return replace(detections, track_ids=tuple(ids))

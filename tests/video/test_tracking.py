"""Ids of boxes that move."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from spikedet.common.errors import ConfigError
from spikedet.detections import Detections
from spikedet.video import ByteTracker, import_trackers


def boxes(*rows: tuple[float, float]) -> Detections:
    """Boxes 20 wide from ``(left edge, score)``."""
    edges: Any = [[left, 0, left + 20, 20] for left, _ in rows]
    scores = np.array([score for _, score in rows], np.float32)
    return Detections(np.array(edges, np.float32), scores, np.zeros(len(rows), np.int64))


def ids(tracker: ByteTracker, detections: Detections) -> list[int | None]:
    tracked = tracker.update(detections)
    assert np.array_equal(tracked.boxes_xyxy, detections.boxes_xyxy)
    return list(tracked.track_ids)


def test_nothing_is_followed_in_an_empty_video() -> None:
    tracker = ByteTracker(25, 0.25)
    assert [ids(tracker, Detections.empty()) for _ in range(3)] == [[], [], []]


def test_ids_stay_with_their_boxes_in_any_order() -> None:
    tracker = ByteTracker(25, 0.25)
    assert ids(tracker, boxes((0, 0.9), (100, 0.9))) == [None, None]
    one, other = ids(tracker, boxes((2, 0.9), (102, 0.9)))
    assert None not in (one, other)
    assert one != other
    assert ids(tracker, boxes((104, 0.9), (4, 0.9))) == [other, one]
    assert ids(tracker, boxes((300, 0.9), (106, 0.9), (6, 0.9))) == [None, other, one]
    assert ids(tracker, Detections.empty()) == []
    assert ids(tracker, boxes((108, 0.9))) == [other]


def test_a_weak_box_goes_on_with_a_track_but_starts_none() -> None:
    tracker = ByteTracker(25, 0.5)
    ids(tracker, boxes((0, 0.9)))
    strong = ids(tracker, boxes((0, 0.9)))
    assert ids(tracker, boxes((0, 0.2), (100, 0.2))) == [*strong, None]
    assert ids(tracker, boxes((0, 0.2), (100, 0.2))) == [*strong, None]


def test_two_videos_have_ids_of_their_own() -> None:
    first, second = ([ByteTracker(25, 0.25)] * 2, [ByteTracker(25, 0.25)] * 2)
    found = [[ids(tracker, boxes((0, 0.9))) for tracker in trackers][-1] for trackers in (first, second)]
    assert found[0] == found[1] != [None]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ConfigError, match=r"tracking needs the package trackers .*; pip install trackers"):
        import_trackers()

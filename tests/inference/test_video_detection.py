"""Detections on the frames of videos and cameras."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from small_videos import WIDTH, FakeCapture, RGBImage, camera, sample_image, write_video
from tiny_detector import T, chain

from spikedet.common.errors import ConfigError
from spikedet.detections import Detections
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.video import annotate_video, expected_frames
from spikedet.video import FrameReader, Source, open_frames, parse_source
from spikedet.visualization.draw import draw_detections

pytestmark = pytest.mark.slow


class Kept(list[RGBImage]):
    """A writer that keeps the images and their times."""

    def __init__(self) -> None:
        super().__init__()
        self.times_s: list[float] = []

    def write(self, image_rgb: RGBImage, time_s: float | None = None) -> None:
        assert time_s is not None
        self.append(image_rgb)
        self.times_s.append(time_s)


@pytest.fixture(scope="module")
def detector() -> SpikingDetector:
    return SpikingDetector.load(chain()["fine"])


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FrameReader]:
    with open_frames(parse_source(str(write_video(tmp_path / "a.mp4", frames=7)))) as opened:
        yield opened


def test_every_frame_is_what_the_detector_says_of_it(detector: SpikingDetector, reader: FrameReader) -> None:
    written = Kept()
    seen = list(annotate_video(detector, reader, written, confidence=0.1, iou=0.5))
    assert [one.frame.number for one in seen] == list(range(1, 8))
    for one, image_rgb in zip(seen, written, strict=True):
        (output,) = one.outputs
        expected = detector(one.frame.image_rgb, confidence=0.1, iou=0.5)[T]
        assert output.t == T
        assert np.array_equal(output.detections.boxes_xyxy, expected.boxes_xyxy)
        assert np.array_equal(image_rgb, draw_detections(one.frame.image_rgb, expected, detector.class_names))
        assert one.image_rgb is image_rgb
        assert output.detections.track_ids == ()


def test_time_steps_stand_side_by_side(detector: SpikingDetector, reader: FrameReader) -> None:
    seen = next(annotate_video(detector, reader, Kept(), t=[1, 4]))
    assert [output.t for output in seen.outputs] == [1, 4]
    assert seen.image_rgb.shape[1] == 2 * WIDTH + 4


def test_an_early_exit_gives_the_last_answer(detector: SpikingDetector, reader: FrameReader) -> None:
    seen = next(annotate_video(detector, reader, Kept(), confidence=0.999, stable_steps=1))
    assert [output.t for output in seen.outputs] == [2]


def test_a_network_without_time(reader: FrameReader) -> None:
    ann = SpikingDetector.load(chain()["ann"])
    assert [one.outputs[0].t for one in annotate_video(ann, reader, Kept(), t=[2])] == [0] * 7


@pytest.mark.parametrize(
    ("every", "frames", "numbers"),
    [(1, 3, [1, 2, 3]), (3, 0, [1, 4, 7]), (2, 2, [1, 3]), (99, 0, [1]), (1, 99, [1, 2, 3, 4, 5, 6, 7])],
)
def test_fewer_frames(
    detector: SpikingDetector, reader: FrameReader, every: int, frames: int, numbers: list[int]
) -> None:
    written = Kept()
    expected = expected_frames(reader, every, frames)
    seen = list(annotate_video(detector, reader, written, every=every, frames=frames))
    assert [one.frame.number for one in seen] == numbers
    assert len(written) == len(numbers) == expected


def test_who_stops_asking_has_cancelled(detector: SpikingDetector, reader: FrameReader) -> None:
    written = Kept()
    looking = annotate_video(detector, reader, written)
    next(looking)
    looking.close()  # type: ignore[attr-defined]
    assert len(written) == 1
    assert reader.frames_read == 1


def test_a_time_step_too_late(detector: SpikingDetector, reader: FrameReader) -> None:
    with pytest.raises(ConfigError, match="converted for T = 4"):
        list(annotate_video(detector, reader, Kept(), t=[9]))


def test_a_cameras_frames_stand_at_the_time_they_were_taken(
    detector: SpikingDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(start=100.0, step=0.4)
    monkeypatch.setattr("spikedet.video.reading.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr("spikedet.inference.video.LatestFrame", EveryFrame)
    written = Kept()
    reader = camera(4)
    assert len(list(annotate_video(detector, reader, written))) == 4
    assert written.times_s == pytest.approx([0, 0.4, 0.8, 1.2])
    assert expected_frames(reader) is None
    assert expected_frames(reader, frames=5) == 5


class EveryFrame:
    """``LatestFrame`` for somebody who is never too late."""

    def __init__(self, open_reader: object) -> None:
        self._reader: FrameReader = open_reader()  # type: ignore[operator]

    def __enter__(self) -> FrameReader:
        return self._reader

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def test_a_camera_is_let_go_by_who_stops_asking(detector: SpikingDetector) -> None:
    capture = FakeCapture([sample_image()] * 10_000)
    looking = annotate_video(detector, FrameReader(Source("0", "camera"), capture), Kept())
    next(looking)
    looking.close()  # type: ignore[attr-defined]
    assert capture.released


class Numbers:
    """A tracker that gives every box the next number."""

    least_score = 0.05

    def __init__(self) -> None:
        self.got: list[Detections] = []

    def update(self, detections: Detections) -> Detections:
        self.got.append(detections)
        return replace(detections, track_ids=tuple(range(len(detections))))


def test_the_tracker_sees_weaker_boxes_than_are_shown(detector: SpikingDetector, reader: FrameReader) -> None:
    tracker = Numbers()
    seen = next(annotate_video(detector, reader, Kept(), t=[2, 4], confidence=0.7, tracker=tracker))
    weak, shown = tracker.got[0], seen.outputs[-1].detections
    assert len(weak) > len(shown) > 0
    assert shown.scores.min() >= 0.7
    expected = [index for index, score in enumerate(weak.scores) if score >= 0.7]
    assert list(shown.track_ids) == expected
    named = draw_detections(seen.frame.image_rgb, shown, detector.class_names)
    assert np.array_equal(seen.image_rgb[:, -WIDTH:], named)


def test_what_a_container_says_is_no_promise() -> None:
    capture = FakeCapture([sample_image()] * 3, numbers={cv2.CAP_PROP_FRAME_COUNT: 10.0})
    assert expected_frames(FrameReader(Source("a.mp4", "file"), capture), every=3) == 4

"""Frames of files, cameras and addresses, and what is said where there are none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from small_videos import CAMERA, FPS, HEIGHT, WIDTH, FakeCapture, camera, sample_image, write_video

from spikedet.common.errors import DataError
from spikedet.video import FrameReader, Source, open_frames, parse_source
from spikedet.video import reading as reading_module
from spikedet.video.reading import USUAL_FPS


@pytest.mark.parametrize(
    ("text", "kind", "shown", "name"),
    [
        ("0", "camera", "camera 0", "camera-0"),
        ("./0", "file", "./0", "0"),
        ("20260101", "file", "20260101", "20260101"),
        ("²", "file", "²", "²"),
        ("a/clip.mp4", "file", "a/clip.mp4", "clip"),
        ("rtsp://host/a", "address", "rtsp://host/a", "stream"),
        ("RTSP://me:secret@host/a", "address", "RTSP://***@host/a", "stream"),
    ],
)
def test_sources_by_how_they_are_written(text: str, kind: str, shown: str, name: str) -> None:
    source = parse_source(text)
    assert (source.kind, str(source), source.name) == (kind, shown, name)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(DataError, match="ftp://host/a: not an address that can be read; expected one of rtsp"):
        parse_source("ftp://host/a")


def test_frames_of_a_file(tmp_path: Path) -> None:
    with open_frames(parse_source(str(write_video(tmp_path / "a.mp4", frames=4)))) as reader:
        frames = list(reader)
        assert (reader.fps, reader.count, reader.live, reader.shortfall) == (FPS, 4, False, "")
        assert reader.read() is None
    assert [frame.number for frame in frames] == [1, 2, 3, 4]
    for index, frame in enumerate(frames):
        assert frame.image_rgb.shape == (HEIGHT, WIDTH, 3)
        assert (
            np.abs(frame.image_rgb.astype(int) - sample_image(index)).mean() < 30
        )  # a codec's loss, not swapped colours


def test_the_name_of_a_file_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_frames(parse_source(str(write_video(Path("a:b.mp4"))))) as reader:
        assert reader.read() is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"a\.mp4: no such video"), (b"", "not a video that can be read"), (b"x" * 999, "not a video that can")],
)
def test_files_that_are_no_videos(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_frames(parse_source(str(path)))


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", frames=60).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    with open_frames(parse_source(str(cut))) as reader:
        read = sum(1 for _ in reader)
        assert 0 < read < 60
        assert reader.shortfall == f"{cut}: truncated or damaged; {read} of 60 frames could be read"


def test_who_stops_early_misses_nothing() -> None:
    numbers = {cv2.CAP_PROP_FRAME_COUNT: 100.0}
    reader = FrameReader(Source("a.mp4", "file"), FakeCapture([sample_image()] * 100, numbers=numbers))
    for _ in range(3):
        reader.read()
    assert reader.shortfall == ""


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 90000.0])
def test_an_impossible_rate_is_the_usual_one(fps: float) -> None:
    assert camera(1, numbers={cv2.CAP_PROP_FPS: fps}).fps == USUAL_FPS


def test_a_camera_is_live_and_not_read_ahead() -> None:
    asked: list[int] = []
    reader = camera(3, before=asked.append)
    assert reader.live
    assert reader.count is None
    reader.read()
    assert asked == [1]
    assert [frame.number for frame in reader] == [2, 3]


def test_a_missing_camera() -> None:
    with pytest.raises(DataError, match="camera 0: no such camera, or another program is using it"):
        FrameReader(CAMERA, FakeCapture([], opened=False))
    with pytest.raises(DataError, match="camera 0: the camera gives no image"):
        FrameReader(CAMERA, FakeCapture([]))
    with pytest.raises(DataError, match="camera 99: no such camera"):
        open_frames(parse_source("99"))


def test_nobody_at_an_address() -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/a\.mjpg: no video is served there"):
        open_frames(parse_source("http://127.0.0.1:9/a.mjpg"))


def test_what_could_not_be_opened_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture([])
    monkeypatch.setattr(reading_module, "open_capture", lambda source: capture)
    with pytest.raises(DataError):
        open_frames(CAMERA)
    assert capture.released == 1


def test_an_error_of_opencv_is_the_end() -> None:
    def unplugged(number: int) -> None:
        if number == 2:
            raise cv2.error("select() timeout")

    assert [frame.number for frame in camera(3, before=unplugged)] == [1]


def test_frames_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "MAX_PIXELS", 100)
    with pytest.raises(DataError, match="camera 0: 64 x 48 pixels, more than the 100 allowed"):
        camera(1)

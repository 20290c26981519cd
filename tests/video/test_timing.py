"""The times of frames: what is found out about files, and that frames are read with theirs."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small_videos import FPS, FakeCapture, camera, retimed, sample_image, trimmed, write_video

from spikedet.video import FrameReader, Source, open_frames
from spikedet.video.reading import MOST_GAP_S
from spikedet.video.timing import Timing, read_timing, shown_share


def opened(path: Path) -> FrameReader:
    return open_frames(Source(str(path), "file"))


def times_s(path: Path) -> list[float]:
    with opened(path) as reader:
        return [frame.source_time_s for frame in reader]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize("fps", [5.0, 12.5, 1000 / 30, 239.36])
def test_a_constant_rate(tmp_path: Path, suffix: str, fps: float) -> None:
    path = write_video(tmp_path / f"a{suffix}", frames=12, fps=fps)
    with opened(path) as reader:
        assert reader.fps == pytest.approx(fps, rel=0.01)
        found = [frame.source_time_s for frame in reader]
        assert reader.shortfall == ""
    assert found == pytest.approx([i / fps for i in range(12)], abs=0.002)
    assert read_timing(path).constant


VARIABLE = {
    "still, then moving": [0.0, 1.0, 2.0, 3.0, *(4 + i / 30 for i in range(20))],
    "moving, then still": [*(i / 30 for i in range(20)), 2.0, 3.0, 4.0],
    "slower and slower": [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.1],
    "one pause": [0.0, 0.1, 0.2, 0.3, 5.0, 5.1, 5.2],
    "pairs": [0.0, 0.05, 1.0, 1.05, 2.0, 2.05, 3.0, 3.05],
    "a telephone's": [i / 30 + 0.003 * (-1) ** i for i in range(1, 20)],
}


@pytest.mark.parametrize("wanted_s", VARIABLE.values(), ids=VARIABLE)
def test_a_variable_rate(tmp_path: Path, wanted_s: list[float]) -> None:
    wanted_s = [time - wanted_s[0] for time in wanted_s]
    path = retimed(write_video(tmp_path / "a.mp4", frames=len(wanted_s)), wanted_s, wanted_s[-1] + 0.1)
    assert times_s(path) == pytest.approx(wanted_s, abs=0.002)
    with opened(path) as reader:
        spacings_s = [after - before for before, after in itertools.pairwise(wanted_s)]
        assert min(spacings_s) * reader.fps >= 0.6  # hardly two frames in one place
        assert sum(1 for _ in reader) == len(wanted_s)
        assert reader.shortfall == ""


@pytest.mark.parametrize(
    ("short_s", "said", "rate"),
    [
        (0, 25, 25),
        (0.04, 25, 25),
        (0.033, 30, 30),
        (0.033, 5.8, 30),
        (0.0167, 0, 60),
        (0.042, 2, 24),
        (0.074, 3, 1 / 0.074),
    ],
)
def test_the_rate_in_which_each_frame_has_a_place(short_s: float, said: float, rate: float) -> None:
    assert Timing(short_s, 9).rate(said) == rate


def test_the_delays_of_a_gif(tmp_path: Path) -> None:
    images = [Image.fromarray(sample_image(index)) for index in range(6)]
    images[0].save(
        tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[1000, 20, 20, 500, 40, 2000], loop=0
    )
    assert times_s(tmp_path / "a.gif") == pytest.approx([0, 1, 1.02, 1.04, 1.54, 1.58])


def test_a_camera_has_the_times_at_which_it_was_read() -> None:
    frames = list(camera(3))
    assert frames[0].source_time_s == 0
    for before, after in itertools.pairwise(frames):
        assert after.source_time_s - before.source_time_s == pytest.approx(after.time_s - before.time_s, abs=1e-6)


class Positions(FakeCapture):
    """A file whose frames say that they stand at these milliseconds."""

    def __init__(self, positions_ms: list[float]) -> None:
        super().__init__([sample_image()] * len(positions_ms))
        self._positions_ms = positions_ms

    def get(self, property: int) -> float:
        return self._positions_ms[self._given - 1] if property == cv2.CAP_PROP_POS_MSEC else super().get(property)


@pytest.mark.parametrize(
    ("positions_ms", "expected_s"),
    [
        ([0, 0, 0, 0], [0, 0.1, 0.2, 0.3]),
        ([500, 600, 700], [0, 0.1, 0.2]),
        ([0, 100, 0, 100, 200], [0, 0.1, 0.2, 0.3, 0.4]),
        ([0, 100, 50, 300], [0, 0.1, 0.2, 0.45]),
        ([0, 100, float("nan"), 300], [0, 0.1, 0.2, 0.5]),
        ([0, -1e9, 100], [0, 0.1, 0.2]),
        ([0, 100, 1000 * MOST_GAP_S * 9, 1000 * MOST_GAP_S * 9 + 100], [0, 0.1, 0.2, 0.3]),
        ([0, 1000 * MOST_GAP_S - 1], [0, MOST_GAP_S - 0.001]),
    ],
)
def test_times_that_go_back_or_far_ahead(positions_ms: list[float], expected_s: list[float]) -> None:
    reader = FrameReader(Source("a.mp4", "file"), Positions(positions_ms))
    assert reader.fps == FPS
    found_s = [frame.source_time_s for frame in reader]
    assert len(found_s) == len(expected_s)
    assert all(before < after for before, after in itertools.pairwise(found_s))
    assert found_s == pytest.approx(expected_s, abs=1e-3)


# --- edit lists ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_s", "length_s", "frames"), [(0, 3, 30), (0, 1, 10), (1, 1, 10), (2.5, 0.5, 5), (0.5, 2, 20), (0, 0.1, 1)]
)
def test_a_trimmed_clip_is_whole(tmp_path: Path, start_s: float, length_s: float, frames: int) -> None:
    path = trimmed(write_video(tmp_path / "a.mp4", frames=30), start_s, length_s)
    assert shown_share(path) == pytest.approx(frames / 30)
    with opened(path) as reader:
        assert reader.count == frames
        assert sum(1 for _ in reader) == frames
        assert reader.shortfall == ""


@pytest.mark.parametrize("trim", [False, True])
def test_a_clip_that_was_cut_off_is_not(tmp_path: Path, trim: bool) -> None:
    """Its index comes first, as in files for the web; then its end is gone."""
    path = write_video(tmp_path / "a.mp4", frames=60)
    if trim:
        trimmed(path, 0, 5)
    content = path.read_bytes()
    at = content.rindex(b"moov") - 4
    index = bytearray(content[at:])
    chunks = index.index(b"stco") + 4
    for i in range(int.from_bytes(index[chunks + 4 : chunks + 8])):
        place = chunks + 8 + 4 * i
        struct.pack_into(">I", index, place, int.from_bytes(index[place : place + 4]) + len(index))
    path.write_bytes((bytes(index) + content[:at])[: len(index) + at // 2])
    with opened(path) as reader:
        read = sum(1 for _ in reader)
        assert 0 < read < 45
        assert reader.shortfall == f"{path}: truncated or damaged; {read} of {50 if trim else 60} frames could be read"


def test_an_estimated_count_is_not_held_against_the_frames() -> None:
    numbers = {cv2.CAP_PROP_FRAME_COUNT: 300.0, cv2.CAP_PROP_FPS: 30.0}
    capture = Positions([0, 4000, 9900])
    capture._numbers.update(numbers)
    reader = FrameReader(Source("a.mkv", "file"), capture, Timing(0.1, 4.0))
    assert len(list(reader)) == 3
    assert reader.shortfall == ""
    early = Positions([0, 2000, 4000])
    early._numbers.update(numbers)
    reader = FrameReader(Source("a.mkv", "file"), early, Timing(0.1, 4.0))
    assert len(list(reader)) == 3
    assert reader.shortfall == "a.mkv: truncated or damaged; it ends after 4.0 of 10.0 s"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\x08moov",
        b"\0\0\0\x10moov\0\0\0\x08trak",
        b"\0\0\0\x00moov",
        b"\xff\xff\xff\xffmoov" + b"\0" * 99,
        b"\0\0\0\x01moov\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x01moov",
        b"\0\0\0\x10moov\0\0\0\x04trak",
        b"RIFF" + b"\0" * 99,
        b"GIF89a",
    ],
)
def test_other_files_have_no_edit_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert shown_share(tmp_path / "a.mp4") is None


def test_a_damaged_index_is_unknown_at_worst(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", frames=3).read_bytes()
    index = whole.rindex(b"moov")
    rng = np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(index, len(content), 8):
            content[place] = rng.integers(256)
        (tmp_path / "a.mp4").write_bytes(content)
        share = shown_share(tmp_path / "a.mp4")
        assert share is None or 0 < share <= 1

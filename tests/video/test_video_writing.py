"""Videos written whole or not at all."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_videos import HEIGHT, WIDTH, RGBImage, sample_image

from spikedet.common.errors import ConfigError, SpikedetError
from spikedet.video import open_frames, parse_source, video_writer
from spikedet.video.writing import VIDEO_FORMATS

every_format = pytest.mark.parametrize("suffix", VIDEO_FORMATS)


def read(path: Path) -> tuple[float, list[RGBImage]]:
    with open_frames(parse_source(str(path))) as reader:
        return reader.fps, [frame.image_rgb for frame in reader]


@every_format
@pytest.mark.parametrize("fps", [5.0, 12.5, 1000 / 30])
def test_images_come_back(tmp_path: Path, suffix: str, fps: float) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    with video_writer(path, fps) as writer:
        for index in range(8):
            writer.write(sample_image(index))
    found_fps, found = read(path)
    assert found_fps == pytest.approx(fps, rel=0.01)
    assert len(found) == 8
    for index, image in enumerate(found):
        assert np.abs(image.astype(int) - sample_image(index)).mean() < 30
    assert list(path.parent.iterdir()) == [path]


@every_format
def test_one_image(tmp_path: Path, suffix: str) -> None:
    with video_writer(tmp_path / f"a{suffix}", 25) as writer:
        writer.write(sample_image())
    assert len(read(tmp_path / f"a{suffix}")[1]) == 1


@every_format
def test_odd_sides_grow_by_a_pixel(tmp_path: Path, suffix: str) -> None:
    with video_writer(tmp_path / f"a{suffix}", 25) as writer:
        writer.write(sample_image(image_hw=(33, 47)))
    assert read(tmp_path / f"a{suffix}")[1][0].shape == (34, 48, 3)


@every_format
def test_other_sizes_are_brought_to_the_first(tmp_path: Path, suffix: str) -> None:
    with video_writer(tmp_path / f"a{suffix}", 25) as writer:
        for index, image_hw in enumerate([(HEIGHT, WIDTH), (20, 100), (200, 300)]):
            writer.write(sample_image(index, image_hw))
    assert [image.shape for image in read(tmp_path / f"a{suffix}")[1]] == [(HEIGHT, WIDTH, 3)] * 3


@every_format
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_what_was_there(tmp_path: Path, suffix: str, error: type[BaseException]) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"before")
    with pytest.raises(error), video_writer(path, 25) as writer:
        writer.write(sample_image())
        raise error
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@every_format
def test_no_frame_is_no_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(SpikedetError, match="no frame was recorded"), video_writer(tmp_path / f"a{suffix}", 25):
        pass
    assert list(tmp_path.iterdir()) == []


@contextmanager
def little_room(limit: int) -> Iterator[None]:
    """Files cannot grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@every_format
def test_a_full_disk_is_noticed(tmp_path: Path, suffix: str) -> None:
    images = 3 if suffix == ".gif" else 20
    noise = np.random.default_rng(0).integers(0, 256, (images, 120, 160, 3), np.uint8)
    failing = pytest.raises(SpikedetError, match=f"a{suffix}: writing failed")
    with little_room(20_000), failing, video_writer(tmp_path / f"a{suffix}", 25) as writer:
        for image in noise:
            writer.write(image)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format(tmp_path: Path) -> None:
    refused = pytest.raises(
        ConfigError, match=r"a\.xyz: not a video format that can be written; expected \.mp4, \.webm"
    )
    with refused, video_writer(tmp_path / "a.xyz", 25):
        pass


def test_a_size_that_no_codec_takes(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match=r"cannot write \.webm of 20000 x 2 pixels here; expected one of .* VP80")
    with refused, video_writer(tmp_path / "a.webm", 25) as writer:
        writer.write(np.zeros((2, 20_000, 3), np.uint8))


# --- times -----------------------------------------------------------------------------------------------------------


def shades(path: Path) -> list[tuple[float, int]]:
    """Time and grey of the frames of a video that differ from the one before."""
    found: list[tuple[float, int]] = []
    with open_frames(parse_source(str(path))) as reader:
        for frame in reader:
            grey = round(float(frame.image_rgb.mean()) / 10) * 10
            if not found or found[-1][1] != grey:
                found.append((frame.source_time_s, grey))
    return found


@every_format
@pytest.mark.parametrize(
    "times_s",
    [
        [0, 1, 2, 2.04, 2.08, 2.12],
        [0, 0.04, 0.08, 3],
        [0, 0.5, 0.6, 0.7, 5],
        [0, 0.033, 0.067, 0.1, 0.133],
        [0, 2],
    ],
)
def test_every_image_stands_at_its_time(tmp_path: Path, suffix: str, times_s: list[float]) -> None:
    path = tmp_path / f"a{suffix}"
    with video_writer(path, 30) as writer:
        for index, time_s in enumerate(times_s):
            writer.write(np.full((HEIGHT, WIDTH, 3), 40 + 20 * index, np.uint8), time_s)
    found = shades(path)
    assert [grey for _, grey in found] == [40 + 20 * index for index in range(len(times_s))]
    assert [time_s for time_s, _ in found] == pytest.approx(times_s, abs=0.5 / 30 + 0.002)


@every_format
def test_images_for_which_there_is_no_time_are_left_out(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with video_writer(path, 10) as writer:
        for index in range(100):
            writer.write(sample_image(index), index / 1000)
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 1.0)
    assert shades(path)[-1] == (pytest.approx(1.0, abs=0.1), 0)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize(
    "fps", [239.36170212765958, 119.880119, 59.94005994, 23.976023976, 480.0, 1000.0, 90000.0, 14.985014985, 0.2, 0.001]
)
def test_rates_that_codecs_do_not_take(tmp_path: Path, suffix: str, fps: float) -> None:
    path = tmp_path / f"a{suffix}"
    with video_writer(path, fps) as writer:
        for index in range(5):
            writer.write(sample_image(index), index / max(fps, 1))
    assert read(path)[0] == pytest.approx(min(max(fps, 1), 480), rel=0.001)


@pytest.mark.parametrize("fps", [59.94, 51.0, 50.0, 100.0])
def test_a_gif_has_no_delay_that_browsers_play_slower(tmp_path: Path, fps: float) -> None:
    """Below 20 ms they wait for 100."""
    path = tmp_path / "a.gif"
    with video_writer(path, fps) as writer:
        for index in range(round(fps)):
            writer.write(sample_image(index), index / fps)
    with Image.open(path) as image:
        durations_ms = []
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            durations_ms.append(image.info["duration"])
    assert min(durations_ms) >= 20
    assert sum(durations_ms) == pytest.approx(1000, abs=20)


ODD_NAMES = [
    b"a\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\x80",
    b"caf\xe9",
    b"\xb1\xe1\xbe\xa9",
    b"a b",
    b"a%02d",
    b"a:b",
    b"-a",
]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
@pytest.mark.parametrize("name", ODD_NAMES)
@every_format
def test_names_of_any_bytes(tmp_path: Path, suffix: str, name: bytes) -> None:
    """Those that are no UTF-8 crash OpenCV."""
    path = tmp_path / os.fsdecode(name) / os.fsdecode(name + suffix.encode())
    with video_writer(path, 25) as writer:
        writer.write(sample_image())
    assert list(path.parent.iterdir()) == [path]
    assert len(read(path)[1]) == 1


@pytest.mark.parametrize("character", ["a", "é", "車"])
def test_names_as_long_as_they_can_be(tmp_path: Path, character: str) -> None:
    stem = character * (251 // len(character.encode()))
    with video_writer(tmp_path / f"{stem}.mp4", 25) as writer:
        writer.write(sample_image())
    assert len(read(tmp_path / f"{stem}.mp4")[1]) == 1

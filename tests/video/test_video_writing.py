"""Videos written whole or not at all."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from small_videos import HEIGHT, WIDTH, RGBImage, sample_image

from spikedet.common.errors import ConfigError, SpikedetError
from spikedet.video import VIDEO_FORMATS, open_frames, parse_source, video_writer
from spikedet.video.writing import gif_durations_ms

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
    noise = np.random.default_rng(0).integers(0, 256, (20, 120, 160, 3), np.uint8)
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


@pytest.mark.parametrize(
    ("count", "fps", "durations"), [(0, 30, []), (1, 25, [40]), (6, 30, [30, 40, 30, 30, 40, 30]), (2, 0.5, [2000] * 2)]
)
def test_durations_of_a_gif_add_up(count: int, fps: float, durations: list[int]) -> None:
    assert gif_durations_ms(count, fps) == durations

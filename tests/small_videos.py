"""Videos and cameras made up for tests."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spikedet.video import FrameReader, Source

HEIGHT, WIDTH, FPS = 48, 64, 10.0
CAMERA = Source("0", "camera")
RGBImage = npt.NDArray[np.uint8]


def sample_image(seed: int = 0, image_hw: tuple[int, int] = (HEIGHT, WIDTH)) -> RGBImage:
    """Noise of one colour, so that codecs leave something of it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, image_hw[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def write_video(path: Path, frames: int = 5, fps: float = FPS) -> Path:
    """A file by OpenCV alone; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoder = cv2.VideoWriter(
        str(path.resolve()), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, (WIDTH, HEIGHT)
    )
    assert encoder.isOpened()
    for index in range(frames):
        encoder.write(np.ascontiguousarray(sample_image(index)[..., ::-1]))
    encoder.release()
    return path


class FakeCapture:
    """A camera that gives images, then nothing; ``before`` is called before each image, with its number from 1."""

    def __init__(
        self,
        images: Sequence[RGBImage],
        *,
        opened: bool = True,
        numbers: dict[int, float] | None = None,
        before: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._images, self._opened, self._before = list(images), opened, before
        self._numbers = {cv2.CAP_PROP_FPS: FPS, **(numbers or {})}
        self._given = 0
        self.released = 0

    def isOpened(self) -> bool:
        return self._opened

    def get(self, property: int) -> float:
        return self._numbers.get(property, 0.0)

    def read(self) -> tuple[bool, Any]:
        if self._given == len(self._images):
            return False, None
        self._before(self._given + 1)
        self._given += 1
        return True, self._images[self._given - 1][..., ::-1]

    def release(self) -> None:
        self.released += 1


def camera(frames: int, **changes: Any) -> FrameReader:
    """An opened camera with so many frames."""
    return FrameReader(CAMERA, FakeCapture([sample_image(index) for index in range(frames)], **changes))


def retimed(path: Path, times_s: Sequence[float], end_s: float) -> Path:
    """Give the frames of an MP4 that OpenCV wrote other times, from 0 on; returns its path."""
    content = bytearray(path.read_bytes())
    index = content.rindex(b"moov")
    scale = int.from_bytes(content[(header := content.index(b"mdhd", index)) + 16 : header + 20])
    ticks = [round(time * scale) for time in (*times_s, end_s)]
    entries = b"".join(struct.pack(">II", 1, after - before) for before, after in itertools.pairwise(ticks))
    at = content.index(b"stts", index) - 4
    old = int.from_bytes(content[at : at + 4])
    new = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(times_s)) + entries
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = content.index(kind, index) - 4
        struct.pack_into(">I", content, place, int.from_bytes(content[place : place + 4]) + len(new) - old)
    struct.pack_into(">I", content, header + 20, ticks[-1])
    struct.pack_into(">I", content, content.index(b"elst", index) + 12, round(1000 * end_s))
    content[at : at + old] = new
    path.write_bytes(content)
    return path


def trimmed(path: Path, start_s: float, length_s: float) -> Path:
    """Give an MP4 that OpenCV wrote an edit list, as telephones do where a clip is cut; returns its path."""
    content = bytearray(path.read_bytes())
    index = content.rindex(b"moov")
    header = content.index(b"mdhd", index)
    scale = int.from_bytes(content[header + 16 : header + 20])
    struct.pack_into(">II", content, content.index(b"elst", index) + 12, round(1000 * length_s), round(scale * start_s))
    path.write_bytes(content)
    return path

"""Videos and cameras made up for tests."""

from __future__ import annotations

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

"""Videos written image by image: the file appears whole under its name, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from spikedet.common.errors import ConfigError, DataError, SpikedetError
from spikedet.common.files import atomic_path
from spikedet.video.quiet import quiet_opencv, quiet_stderr
from spikedet.video.reading import Source, open_frames

CODECS = {".mp4": ("avc1", "mp4v"), ".webm": ("VP80",)}
"""By file ending, the codecs to try in turn; H.264 is in few builds of OpenCV."""

VIDEO_FORMATS = (*CODECS, ".gif")
"""File endings that can be written. Browsers play WebM and GIF everywhere, MP4 only where H.264 was there."""


class VideoWriter(Protocol):
    """Takes images in order; the first one fixes the size, others are resized to it."""

    def write(self, image_rgb: npt.NDArray[np.uint8]) -> None:
        """Add an image, uint8 ``[H, W, 3]``."""


@contextmanager
def video_writer(path: Path, fps: float) -> Iterator[VideoWriter]:
    """A writer whose video takes its place at ``path`` when the block ends; after an exception nothing is left.

    Sides that are odd grow by a pixel, because most codecs want even ones. A GIF is held in memory until it is written.

    Args:
        path: its suffix, one of ``VIDEO_FORMATS``, chooses the format.
        fps: images per second.

    Raises:
        ConfigError: an unknown format, or OpenCV has no codec for it here.
        SpikedetError: the folder cannot be written, the disk is full, or no image was written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in VIDEO_FORMATS:
        raise ConfigError(f"{path}: not a video format that can be written; expected {', '.join(VIDEO_FORMATS)}")
    with atomic_path(path) as temporary:
        writer = _Gif(fps) if suffix == ".gif" else _OpenCv(temporary, fps)
        try:
            yield writer
        except BaseException:
            writer.discard()
            raise
        if not writer.written:
            writer.discard()
            raise SpikedetError(f"{path}: no frame was recorded; nothing was written")
        writer.finish(temporary)
        if not _whole(temporary, writer.written):
            raise SpikedetError(f"{path}: writing failed; is the disk full? Nothing was changed")


class _Sized:
    """Images brought to the even size of the first one, and counted."""

    def __init__(self) -> None:
        self.written = 0
        self._hw: tuple[int, int] | None = None

    def _fit(self, image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        self._hw = self._hw or (image_rgb.shape[0], image_rgb.shape[1])
        self.written += 1
        height, width = self._hw
        if image_rgb.shape[:2] != self._hw:
            image_rgb = np.asarray(cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return np.pad(image_rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class _OpenCv(_Sized):
    """OpenCV's encoders, writing as the images come."""

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__()
        self._path, self._fps = path, fps
        self._encoder: Any = None

    def write(self, image_rgb: npt.NDArray[np.uint8]) -> None:
        fitted = self._fit(image_rgb)
        if self._encoder is None:
            self._encoder = _encoder(self._path, self._fps, (fitted.shape[1], fitted.shape[0]))
        self._encoder.write(np.ascontiguousarray(fitted[..., ::-1]))

    def finish(self, _: Path) -> None:
        self._encoder.release()

    def discard(self) -> None:
        if self._encoder is not None:
            self._encoder.release()


class _Gif(_Sized):
    """Pillow's GIF: a palette for each image, and durations whose rounding does not add up."""

    def __init__(self, fps: float) -> None:
        super().__init__()
        self._fps = fps
        self._images: list[Image.Image] = []

    def write(self, image_rgb: npt.NDArray[np.uint8]) -> None:
        self._images.append(Image.fromarray(self._fit(image_rgb)).quantize(256, dither=Image.Dither.NONE))

    def finish(self, path: Path) -> None:
        first, *others = self._images
        durations = gif_durations_ms(len(self._images), self._fps)
        first.save(path, save_all=True, append_images=others, duration=durations, loop=0)

    def discard(self) -> None:
        self._images.clear()


def gif_durations_ms(count: int, fps: float) -> list[int]:
    """How long each of ``count`` images stands, in the tens of milliseconds that GIF knows."""
    ends = [round(100 * (i + 1) / fps) for i in range(count)]
    return [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]


def _encoder(path: Path, fps: float, resolution_wh: tuple[int, int]) -> Any:
    quiet_opencv()
    for codec in CODECS[path.suffix.lower()]:
        with quiet_stderr():
            encoder = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, resolution_wh)
        if encoder.isOpened():
            return encoder
    width, height = resolution_wh
    raise ConfigError(
        f"OpenCV cannot write {path.suffix} of {width} x {height} pixels here; expected one of the codecs "
        f"{', '.join(CODECS[path.suffix.lower()])}: choose another format"
    )


def _whole(path: Path, written: int) -> bool:
    """OpenCV does not say when writing failed, so the file is asked. GIF joins images that are alike."""
    try:
        with open_frames(Source(str(path), "file")) as reader:
            return path.suffix.lower() == ".gif" or reader.count is None or reader.count >= written - 1
    except DataError:
        return False

"""Videos written image by image: the file appears whole under its name, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from spikedet.common.errors import ConfigError, DataError, SpikedetError
from spikedet.common.files import atomic_path
from spikedet.video.opencv import plain_path, quiet_opencv, quiet_stderr
from spikedet.video.reading import MOST_FPS, Source, open_frames

CODECS = {".mp4": ("avc1", "mp4v"), ".webm": ("VP80",)}
"""By file ending, the codecs to try in turn; H.264 is in few builds of OpenCV."""

VIDEO_FORMATS = (*CODECS, ".gif")
"""File endings that can be written. Browsers play WebM and GIF everywhere, MP4 only where H.264 was there."""


LEAST_GIF_CS = 2
"""Hundredths of a second that an image of a GIF stands; browsers show one with less for a tenth of a second."""


class VideoWriter(Protocol):
    """Takes images in order; the first one fixes the size, others are resized to it."""

    def write(self, image_rgb: npt.NDArray[np.uint8], time_s: float | None = None) -> None:
        """Add an image, uint8 ``[H, W, 3]``, which stands from this time after the first on; None is the next step."""


@contextmanager
def video_writer(path: Path, fps: float) -> Iterator[VideoWriter]:
    """A writer whose video takes its place at ``path`` when the block ends; after an exception nothing is left.

    Sides that are odd grow by a pixel, because most codecs want even ones. A GIF is held in memory until it is written.
    An image stands until the next one. One for which there is no time, before the next, is left out.

    Args:
        path: its suffix, one of ``VIDEO_FORMATS``, chooses the format.
        fps: images per second; of MP4 and WebM at least 1 and at most ``MOST_FPS``, else images are repeated.

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
            if not writer.written:
                raise SpikedetError(f"{path}: no frame was recorded; nothing was written")
            writer.finish(temporary)
        except BaseException:
            writer.discard()
            raise
        if not _whole(temporary, writer.written):
            raise SpikedetError(f"{path}: writing failed; is the disk full? Nothing was changed")


class _Sized:
    """Images brought to the even size of the first one, and counted."""

    def __init__(self) -> None:
        self.written = 0
        self._hw: tuple[int, int] | None = None

    def _fit(self, image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        self._hw = self._hw or (image_rgb.shape[0], image_rgb.shape[1])
        height, width = self._hw
        if image_rgb.shape[:2] != self._hw:
            image_rgb = np.asarray(cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return np.pad(image_rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class _OpenCv(_Sized):
    """OpenCV's encoders, writing as the images come, one for each step of a constant rate."""

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__()
        # MPEG-4 counts time in at most 65,535 parts of a second, and OpenCV takes as many digits as the rate has.
        self._path, self._fps = path, round(min(max(fps, 1.0), MOST_FPS), 2)
        self._encoder: Any = None
        self._last: npt.NDArray[np.uint8] | None = None

    def write(self, image_rgb: npt.NDArray[np.uint8], time_s: float | None = None) -> None:
        fitted = np.ascontiguousarray(self._fit(image_rgb)[..., ::-1])
        if self._encoder is None:
            self._encoder = _encoder(self._path, self._fps, (fitted.shape[1], fitted.shape[0]))
        step = self.written if time_s is None else round(time_s * self._fps)
        if step < self.written - 1:
            return
        for image_bgr in [*repeat(self._last, step - self.written), fitted]:
            self._encoder.write(image_bgr)
            self.written += 1
        self._last = fitted

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
        self._starts_cs: list[int] = []

    def write(self, image_rgb: npt.NDArray[np.uint8], time_s: float | None = None) -> None:
        start_cs = round(100 * (self.written / self._fps if time_s is None else time_s))
        self.written += 1
        if self._starts_cs and start_cs - self._starts_cs[-1] < LEAST_GIF_CS:
            return
        self._starts_cs.append(start_cs)
        self._images.append(Image.fromarray(self._fit(image_rgb)).quantize(256, dither=Image.Dither.NONE))

    def finish(self, path: Path) -> None:
        first, *others = self._images
        ends_cs = [*self._starts_cs[1:], self._starts_cs[-1] + max(LEAST_GIF_CS, round(100 / self._fps))]
        durations_ms = [10 * (end - start) for start, end in zip(self._starts_cs, ends_cs, strict=True)]
        first.save(path, save_all=True, append_images=others, duration=durations_ms, loop=0)

    def discard(self) -> None:
        self._images.clear()


def _encoder(path: Path, fps: float, resolution_wh: tuple[int, int]) -> Any:
    quiet_opencv()
    for codec in CODECS[path.suffix.lower()]:
        with quiet_stderr(), plain_path(path) as where:
            encoder = cv2.VideoWriter(where, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, resolution_wh)
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

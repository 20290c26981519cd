"""Frames of a video file, a camera or an address, as RGB images."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from spikedet.common.errors import DataError
from spikedet.common.pointers import lfs_pointer
from spikedet.data.images import MAX_PIXELS
from spikedet.video.opencv import plain_path, quiet_opencv
from spikedet.video.timing import Timing, read_timing

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".gif")
"""File endings taken for videos, in lower case."""

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "srt", "udp", "tcp")
MOST_DIGITS = 3
"""Of a camera's index; a longer number is a file's name."""

OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 5000
USUAL_FPS = 25.0
"""Of a source that does not say how many frames it has in a second."""

MOST_FPS = 480.0
"""Above it the number is a time base that was taken for a rate."""

MISSING_SHARE = 0.02
"""A container's count of frames is often an estimate; as many may be missing without a word."""

MOST_GAP_S = 600.0
"""Between two frames; a time that is further ahead, or behind, is damaged or begins anew."""


@dataclass(frozen=True)
class Source:
    """Where frames come from.

    Attributes:
        text: as the user wrote it.
        kind: ``file``, ``camera`` (an index) or ``address``.
    """

    text: str
    kind: Literal["file", "camera", "address"]

    def __str__(self) -> str:
        if self.kind == "file":
            return self.text
        return f"camera {self.text}" if self.kind == "camera" else re.sub("//[^/]*@", "//***@", self.text)

    @property
    def name(self) -> str:
        """What files made from it are called."""
        return {"file": Path(self.text).stem, "camera": f"camera-{self.text}", "address": "stream"}[self.kind]


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        number: 1 for the first.
        image_rgb: uint8 ``[H, W, 3]``.
        time_s: when it was read, on the clock of ``time.monotonic``.
        source_time_s: after the first frame; of a file as the file says, of a live source as it was read.
    """

    number: int
    image_rgb: npt.NDArray[np.uint8]
    time_s: float
    source_time_s: float


def parse_source(text: str) -> Source:
    """A camera's index, an address (``rtsp://...``) or a file, by how it is written. Raises DataError.

    A number that is the name of a file or folder here is that.
    """
    if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and not Path(text).exists():
        return Source(text, "camera")
    scheme, found, _ = text.partition("://")
    if found and scheme.lower() in SCHEMES:
        return Source(text, "address")
    if found and not Path(text).exists():
        raise DataError(f"{text}: not an address that can be read; expected one of {', '.join(SCHEMES)}")
    return Source(text, "file")


def open_frames(source: Source) -> FrameReader:
    """Open a source and read its first frame.

    Raises:
        DataError: there is no such file or camera, nothing responds at the address, or nothing in it can be read.
    """
    file = Path(source.text) if source.kind == "file" else None
    if file is not None and not file.is_file():
        raise DataError(f"{source}: no such video; check the path")
    try:
        capture = open_capture(source)
        timing = Timing() if file is None else read_timing(file)
    except Exception as error:
        raise DataError(_CANNOT_OPEN[source.kind].format(source)) from error
    try:
        return FrameReader(source, capture, timing)
    except BaseException as error:
        capture.release()
        if file is not None and isinstance(error, DataError) and (pointer := lfs_pointer(file)):
            raise DataError(f"{source}: {pointer}") from error
        raise


def open_capture(source: Source) -> cv2.VideoCapture:
    """OpenCV's capture of a source, opened or not; FFmpeg reads everything but cameras."""
    quiet_opencv()
    if source.kind == "camera":
        return cv2.VideoCapture(int(source.text))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
    with plain_path(Path(source.text)) if source.kind == "file" else nullcontext(source.text) as where:
        return cv2.VideoCapture(where, cv2.CAP_FFMPEG, limits)


class FrameReader:
    """An opened source: an iterator over its frames, and a context manager.

    Args:
        source: for error messages.
        capture: opened; released by ``close``.
        timing: of a file, as far as it is known.

    Attributes:
        fps: frames per second, of a variable rate about the highest; ``USUAL_FPS`` where the source does not say.
        count: frames there should be; None for a source without an end.
        frames_read: so far.

    Raises:
        DataError: the capture is not open or has no frame.
    """

    def __init__(self, source: Source, capture: cv2.VideoCapture, timing: Timing | None = None) -> None:
        self.source, self._capture, self._timing = source, capture, timing or Timing()
        self._busy = threading.Lock()  # OpenCV must not be closed by one thread while another one reads
        self.frames_read = 0
        if not capture.isOpened():
            raise DataError(_CANNOT_OPEN[source.kind].format(source))
        fps, count = self._number(cv2.CAP_PROP_FPS), self._number(cv2.CAP_PROP_FRAME_COUNT)
        said = fps if 0 < fps <= MOST_FPS else 0.0
        self.fps = min(self._timing.rate(said), MOST_FPS) or USUAL_FPS
        shown = count * (1.0 if self._timing.shown is None else self._timing.shown)
        self.count = round(shown) if source.kind != "camera" and count > 0 else None
        self._duration_s = shown / said if said else 0.0
        self._started_s = self._last_s = self._shift_s = 0.0
        self._next = self._decode()
        if self._next is None:
            raise DataError(_NO_FRAME[source.kind].format(source))

    @property
    def live(self) -> bool:
        """True for a source that goes on whether or not it is read."""
        return self.source.kind == "camera" or (self.source.kind == "address" and self.count is None)

    @property
    def shortfall(self) -> str:
        """A sentence where fewer frames could be read, to the end, than there should be; else ""."""
        if self._next is not None or self.count is None:
            return ""
        if self.count - self.frames_read <= max(2, MISSING_SHARE * self.count):
            return ""
        if self._timing.shown == 1 or self._timing.constant:  # else the count is an estimate, from the duration
            return f"{self.source}: truncated or damaged; {self.frames_read} of {self.count} frames could be read"
        if self._last_s > (1 - MISSING_SHARE) * self._duration_s - 1:
            return ""
        return f"{self.source}: truncated or damaged; it ends after {self._last_s:.1f} of {self._duration_s:.1f} s"

    def read(self) -> Frame | None:
        """The next frame; None at the end, or when the source is lost."""
        found, self._next = self._next, None
        if found is None and self.live:
            found = self._decode()
        if found is None:
            return None
        image, position_s = found
        now_s = time.monotonic()
        if self.frames_read == 0:
            self._started_s = now_s if self.live else position_s
        else:
            self._last_s = self._after_first(now_s if self.live else position_s)
        self.frames_read += 1
        frame = Frame(self.frames_read, image, now_s, self._last_s)
        if not self.live:  # a camera's next image is not worth waiting for before this one is shown
            self._next = self._decode()
        return frame

    def _after_first(self, position_s: float) -> float:
        """The time of a frame; one that is not after that of the frame before is a step after it."""
        at_s = position_s - self._started_s + self._shift_s
        if not self._last_s < at_s <= self._last_s + MOST_GAP_S:
            following_s = self._last_s + 1 / self.fps
            self._shift_s += following_s - at_s
            at_s = following_s
        return at_s

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def close(self) -> None:
        """Let go of the file or camera, once a frame that is being read has come. May be called twice."""
        with self._busy:
            self._capture.release()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _decode(self) -> tuple[npt.NDArray[np.uint8], float] | None:
        """The next image, and its time in the file in seconds. Damaged files make OpenCV raise anything."""
        try:
            with self._busy:
                ok, image_bgr = self._capture.read()
                position_s = self._number(cv2.CAP_PROP_POS_MSEC) / 1000
        except Exception:
            return None
        if not ok or image_bgr is None:
            return None
        height, width = image_bgr.shape[:2]
        if height * width > MAX_PIXELS:
            raise DataError(f"{self.source}: {width} x {height} pixels, more than the {MAX_PIXELS} allowed")
        return np.ascontiguousarray(image_bgr[..., ::-1]), position_s

    def _number(self, name: int) -> float:
        value = float(self._capture.get(name))
        return value if math.isfinite(value) else 0.0


_CANNOT_OPEN = {
    "file": "{}: not a video that can be read, or one that was cut off before its index was written",
    "camera": "{}: no such camera, or another program is using it",
    "address": "{}: no video is served there; check the address and the network",
}
_NO_FRAME = {
    "file": "{}: not a video that can be read; no frame of it could be decoded",
    "camera": "{}: the camera gives no image; is another program using it?",
    "address": "{}: something responds, but sends no frame that can be decoded",
}

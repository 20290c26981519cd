"""When the frames of a file are shown, found without decoding them: from its packets and its edit list."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from spikedet.video.opencv import plain_path, quiet_opencv

MOST_PACKETS = 3000
"""Looked at, about a minute; a file is not read twice."""

MOST_INDEX_BYTES = 64_000_000
ROUNDED = 0.02
EVEN = 1.5
"""Spacings that differ by less are those of a constant rate: containers round times to milliseconds."""


@dataclass(frozen=True)
class Timing:
    """Spacing of a file's frames in time.

    Attributes:
        short_s, long_s: 10th and 90th percentile of the time between two frames; 0 where unknown.
        shown: share of the frames that the edit list of an MP4 or MOV shows; None for other files.
    """

    short_s: float = 0.0
    long_s: float = 0.0
    shown: float | None = None

    @property
    def constant(self) -> bool:
        """Whether frames have one rate, as far as is known."""
        return self.long_s <= EVEN * self.short_s

    def rate(self, said: float) -> float:
        """Frames per second in which each frame has a place: those that the container says, unless they are far off."""
        if not self.short_s or (said and 1 / EVEN < 1 / self.short_s / said < EVEN):
            return said
        rate = 1 / self.short_s
        return round(rate) if abs(round(rate) / rate - 1) < ROUNDED else rate


def read_timing(path: Path) -> Timing:
    """The timing of a video file; what cannot be found out is unknown."""
    quiet_opencv()
    times_s: list[float] = []
    with plain_path(path) as where:
        packets = cv2.VideoCapture(where, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    while len(times_s) < MOST_PACKETS and packets.grab():
        times_s.append(packets.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    packets.release()
    spacings_s = np.diff(np.unique(times_s))
    short_s, long_s = np.percentile(spacings_s, [10, 90]).tolist() if len(spacings_s) else (0.0, 0.0)
    return Timing(short_s, long_s, shown_share(path))


def shown_share(path: Path) -> float | None:
    """The share of an MP4's or MOV's video that its edit list shows, 1 without one; None for other files."""
    index = _index(path)
    tracks = [content for kind, content in _boxes(index) if kind == b"trak"]
    video = next((track for track in tracks if _inside(track, b"mdia", b"hdlr")[8:12] == b"vide"), b"")
    try:
        scale, duration = _scale_and_duration(_inside(video, b"mdia", b"mdhd"))
        movie_scale, _ = _scale_and_duration(_inside(index, b"mvhd"))
        edits = _inside(video, b"edts", b"elst")
        count = struct.unpack_from(">I", edits, 4)[0] if edits else 0
        form = ">QqI" if edits[:1] == b"\1" else ">IiI"
        entries = [struct.unpack_from(form, edits, 8 + i * struct.calcsize(form)) for i in range(count)]
        shown_s = sum(duration for duration, media_time, _ in entries if media_time >= 0) / movie_scale
        return min(1.0, shown_s / (duration / scale)) if shown_s else 1.0
    except (struct.error, ZeroDivisionError):
        return None


def _index(path: Path) -> bytes:
    """The content of the box ``moov``; empty in a file that is no MP4."""
    with open(path, "rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            header = 8
            if size == 1:
                header, long_size = 16, file.read(8)
                size = int.from_bytes(long_size)
            if size < header:
                break
            if kind == b"moov":
                return file.read(min(size - header, MOST_INDEX_BYTES))
            file.seek(size - header, 1)
    return b""


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes within one."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if size < 8:
            return
        yield kind, content[at + 8 : at + size]
        at += size


def _inside(content: bytes, *kinds: bytes) -> bytes:
    """The content of the first box of a kind, and of the next kind within that, and so on; empty if there is none."""
    for kind in kinds:
        content = next((inner for found, inner in _boxes(content) if found == kind), b"")
    return content


def _scale_and_duration(header: bytes) -> tuple[int, int]:
    """Units a second of an ``mvhd`` or ``mdhd``, and its length in them."""
    form, at = (">IQ", 20) if header[:1] == b"\1" else (">II", 12)
    scale, duration = struct.unpack_from(form, header, at)
    return scale, duration

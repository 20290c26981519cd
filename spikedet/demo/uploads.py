"""What somebody may upload, checked before it is worked on: every refusal is one sentence."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from spikedet.common.errors import DataError
from spikedet.data.images import FORMATS, open_image, read_image
from spikedet.video import FrameReader, Source, open_frames

MAX_UPLOAD_BYTES = 100_000_000
"""Of one file; the server refuses more before it is read."""

MAX_STORED_BYTES = 1_000_000_000
"""Of all files that lie on the server at the same time."""

MAX_SIDE = 12_000
"""Pixels; a longer image is shown too small to be of use."""

MAX_DECODED_PIXELS = 50_000_000
"""Of one image; decoding it takes some 17 bytes a pixel, 850 MB."""

MAX_KEPT_PIXELS = 25_000_000
"""Of one image while the networks look at it; a larger one is made smaller first."""

MAX_VIDEO_FRAMES = 1800
"""Of a video that are looked at, a minute of most."""

MAX_VIDEO_PIXELS = 1800 * 1920 * 1080
"""Of all its frames together, so that larger frames are fewer."""

MAX_FRAME_PIXELS = 4096 * 4096
"""Of one frame of a video."""

ANIMATED = ("GIF", "WEBP", "PNG")
"""Formats in which several images are an animation; in others, such as MPO and TIFF, the first one is the image."""

_NO_TEXT = re.compile(rb"[^\t\n\r\x20-\x7e\x80-\xff]")
_LIST = re.compile(rb"(\xef\xbb\xbf)?\s*(#EXTM3U|ffconcat|<|v=)", re.IGNORECASE)
"""What FFmpeg takes for a list of files or addresses that it opens, even with other bytes after it."""

_decoding = threading.Lock()
"""Held while an image is decoded, so that only one of full size is in memory."""


def stored_name(name: str) -> str:
    """The name under which an upload is stored: the visitor's, if it can be a file's on every system."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(c if c.isprintable() and c not in '<>:"|?*%' else "_" for c in last).strip(". ")
    stem, _, suffix = shown.rpartition(".")
    return f"{stem[:40]}.{suffix[:8]}" if stem else suffix[:40] or "upload"


def uploaded_image(path: Path) -> npt.NDArray[np.uint8]:
    """An uploaded image as RGB ``[H, W, 3]``, of at most ``MAX_KEPT_PIXELS``.

    Raises:
        DataError: it is not one still image of a size that can be shown. The message names the file as the visitor
            knows it, without the server's folder.
    """
    if refusal := _refusal(path):
        raise DataError(f"{path.name}: {refusal}")
    try:
        with _decoding:
            return _kept(read_image(path))
    except DataError as error:
        raise DataError(str(error).replace(f"{path.parent}/", "")) from error


def _kept(image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image_rgb.shape[:2]
    scale = (MAX_KEPT_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return image_rgb
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def uploaded_video(path: Path) -> FrameReader:
    """An uploaded video, opened at its first frame.

    Raises:
        DataError: it is no video; as ``uploaded_image``. A text is none: as a list of files it could name others.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head and (_LIST.match(head) or not _NO_TEXT.search(head)):
        raise DataError(f"{path.name}: not a video that can be read, but a text")
    try:
        return open_frames(Source(str(path), "file"))
    except DataError as error:
        raise DataError(str(error).replace(f"{path.parent}/", "")) from error


def _refusal(path: Path) -> str:
    """Why an image that could be read is not taken; "" if it is, or if read_image will say what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = open_image(path, (*FORMATS, "GIF"))  # a GIF gets the words about animations
        with opened:
            (width, height), animated = opened.size, getattr(opened, "is_animated", False)
    except Exception:  # of any decoder, which may raise whatever it likes
        return ""
    if animated and opened.format in ANIMATED:
        return "an animation, not one image; upload it as a video (MP4, WebM, AVI)"
    if max(width, height) > MAX_SIDE:
        return f"{width} x {height} pixels; a side may have {MAX_SIDE}. Make it smaller"
    if width * height > MAX_DECODED_PIXELS:
        return (
            f"{width} x {height} pixels; an image may have {MAX_DECODED_PIXELS // 1_000_000} million. Make it smaller"
        )
    return ""

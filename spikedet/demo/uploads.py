"""What somebody may upload, checked before it is worked on: every refusal is one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from spikedet.common.errors import DataError
from spikedet.data.images import FORMATS, read_image
from spikedet.video import FrameReader, Source, open_frames

MAX_UPLOAD = "100mb"
"""Of one file; the server refuses more before it is read."""

MAX_SIDE = 12_000
"""Pixels; a longer image is shown too small to be of use."""

MAX_VIDEO_SECONDS = 60.0
"""Of a video that are worked on."""


def uploaded_image(path: str | Path | None) -> npt.NDArray[np.uint8]:
    """An uploaded image as RGB ``[H, W, 3]``.

    Raises:
        DataError: nothing was uploaded, or it is not one still image of a size that can be shown. The message names
            the file as the visitor knows it, without the server's folder.
    """
    if path is None:
        raise DataError("no image yet: upload one or choose a sample")
    path = Path(path)
    if refusal := _refusal(path):
        raise DataError(f"{path.name}: {refusal}")
    try:
        return read_image(path)
    except DataError as error:
        raise DataError(str(error).replace(f"{path.parent}/", "")) from error


def uploaded_video(path: str | Path | None) -> FrameReader:
    """An uploaded video, opened at its first frame.

    Raises:
        DataError: nothing was uploaded, or it is no video; as ``uploaded_image``.
    """
    if path is None:
        raise DataError("no video yet: upload one")
    path = Path(path)
    try:
        return open_frames(Source(str(path), "file"))
    except DataError as error:
        raise DataError(str(error).replace(f"{path.parent}/", "")) from error


def _refusal(path: Path) -> str:
    """Why an image that could be read is not taken; "" if it is, or if read_image will say what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=(*FORMATS, "GIF"))  # a GIF gets the words about animations
    except Exception:
        return ""
    with opened:
        width, height = opened.size
        if getattr(opened, "is_animated", False) and opened.format != "MPO":  # a stereo photo is one image
            return "an animation, not one image; upload it as a video (MP4, WebM, AVI)"
        if max(width, height) > MAX_SIDE:
            return f"{width} x {height} pixels; a side may have {MAX_SIDE}. Make it smaller"
    return ""

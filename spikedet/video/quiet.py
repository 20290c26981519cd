"""OpenCV and FFmpeg without messages of their own: what goes wrong is said by the errors raised here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


def quiet_opencv() -> None:
    """Turn the logs of OpenCV and of its FFmpeg off. Idempotent; must run before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Throw away what the process writes to its standard error, for the lines that OpenCV prints past its log."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

"""OpenCV and FFmpeg: paths that they take, and no messages of their own; errors raised here say what goes wrong."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2


@contextmanager
def plain_path(path: Path) -> Iterator[str]:
    """An absolute path to open, because FFmpeg takes "name:rest" for a protocol.

    Bytes that are no UTF-8 crash OpenCV: such a file gets a link that lasts as long as the block.
    """
    path = Path(path).absolute()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="spikedet-") as folder:
            link = Path(folder) / f"video{path.suffix if path.suffix.isascii() else ''}"
            link.symlink_to(path)
            yield str(link)
    else:
        yield str(path)


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

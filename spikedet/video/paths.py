"""Paths that OpenCV takes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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

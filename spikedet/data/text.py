"""Files of annotations as bytes or lines: plain files of a bounded length, and nothing else."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from spikedet.common.errors import DataError
from spikedet.common.files import read_bytes

_ENDS = 65536
"""Bytes of each end of a file that ``read_ends`` reads."""


def read_bounded(path: Path, what: str, most: int | None = None) -> bytes:
    """The bytes of a file.

    Args:
        path: the file.
        what: what it should be, for errors: "labels".
        most: largest length in bytes; ``MAX_TEXT_BYTES`` unless given.

    Raises:
        DataError: it is missing, a device or a pipe, larger than ``most``, or cannot be read.
    """
    try:
        return read_bytes(path, most)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: the {what} cannot be read ({reason})") from error


def read_json(path: Path, what: str, most: int | None = None) -> Any:
    """The content of a JSON file. Raises DataError as ``read_bounded``, and where it is not JSON."""
    content = read_bounded(path, what, most)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); write the file again") from error


def read_lines(path: Path, what: str, most: int | None = None) -> list[str]:
    """The lines of a UTF-8 file. Raises DataError as ``read_bounded``, and where it is not UTF-8."""
    try:
        return read_bounded(path, what, most).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: the {what} cannot be read (not UTF-8 text: {error}); save the file as UTF-8"
        ) from error


def read_start(path: Path, most: int = 4096) -> bytes:
    """The first bytes of a plain file, to see what it is; b"" where it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(most)
    except (OSError, ValueError):
        return b""


def read_ends(path: Path) -> bytes:
    """The first and the last bytes of a plain file; b"" where it cannot be read."""
    start = read_start(path, _ENDS)
    if len(start) < _ENDS:
        return start
    with open(path, "rb") as file:
        file.seek(-min(_ENDS, path.stat().st_size), 2)
        return start + file.read(_ENDS)

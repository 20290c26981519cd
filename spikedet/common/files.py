"""Atomic writes: a file is either the old one or the whole new one, never a part."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from spikedet.common.errors import SpikedetError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path`` in one step.

    Raises:
        SpikedetError: if the folder cannot be written or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise SpikedetError(f"{path}: cannot write here ({error.strerror}); choose another output folder") from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpikedetError(f"{path}: writing failed ({reason}); nothing was changed") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it becomes ``path`` in one step, on failure it is removed.

    Raises:
        SpikedetError: if ``path`` exists and is not an empty folder, or the folder cannot be written.
    """
    path = Path(path)
    try:
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise SpikedetError(f"{path}: there is something already; name a new folder or an empty one")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    except OSError as error:
        raise SpikedetError(f"{path}: cannot write here ({error.strerror}); choose another output folder") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        os.rename(temporary, path)
    except OSError as error:
        raise SpikedetError(f"{path}: writing failed ({error.strerror or error}); nothing was left behind") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Find out now, and not after hours of work, whether a folder can be made and written to; nothing is left there.

    Raises:
        SpikedetError: it cannot.
    """
    folder = Path(folder).absolute()
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise SpikedetError(f"{folder}: cannot write here ({error.strerror}); choose another output folder") from error


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path, value: Any) -> Path:
    """Write JSON atomically (sorted as given, no NaN) and return the path."""
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")

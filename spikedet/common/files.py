"""Files and folders: atomic writes, bounded reads, folders for one process or one user alone."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from spikedet.common.errors import DataError, SpikedetError

MAX_TEXT_BYTES = 10_000_000
"""Most bytes of a text about one image or of a YAML file."""
MAX_LIST_BYTES = 4_000_000_000
"""Most bytes of a text about all images of a dataset."""

_SHOWN_NAME = 32
"""Characters of a file's name in that of its temporary file: names have at most 255 bytes."""
_BUSY_TRIES = 20
"""On Windows a file that another program has open for a moment, such as a virus scanner, cannot be replaced."""
_BUSY_S = 0.05
_HELD, _GUARD = set[Path](), threading.Lock()
"""Locks of this process, whose threads the system does not tell apart."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path`` in one step.

    The file's mode is what the umask leaves, as that of any file a program creates.

    Raises:
        SpikedetError: if the folder cannot be written, the disk is full, or a file that the block reads cannot be read.
    """
    path = Path(path)
    suffix = path.suffix if len(path.suffix) <= _SHOWN_NAME else ""
    temporary = path.with_name(f".{path.name[:_SHOWN_NAME]}.{secrets.token_hex(4)}{suffix}")
    with _may_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        mode = stat.S_IMODE(temporary.stat().st_mode)
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors puts a private file in its place
        with open(temporary, "r+b") as file:  # Windows syncs only files that are open for writing
            os.fsync(file.fileno())
        _replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise _failed(path, temporary, error, "nothing was changed") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, wait: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it becomes ``path`` in one step, on failure it is removed.

    What a killed process has left there is removed too.

    Args:
        path: the folder.
        wait: for another process that is writing it, instead of raising.

    Raises:
        SpikedetError: if ``path`` exists and is not an empty folder, the folder cannot be written, a file that the
            block reads cannot be read, or another process is writing this folder.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    with _may_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock"), path, wait=wait):
        with _may_write(path):
            if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
                raise SpikedetError(f"{path}: there is something already; name a new folder or an empty one")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        try:
            yield temporary
            if path.is_dir():
                path.rmdir()  # Windows replaces no folder, not even an empty one
            os.rename(temporary, path)
        except OSError as error:
            raise _failed(path, temporary, error, "nothing was left behind") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made, for this process alone; where it is new and stays empty, it is removed again.

    Raises:
        SpikedetError: another process holds it, or it cannot be written.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    with _may_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", folder):
            yield
    finally:
        with contextlib.suppress(OSError):
            for path in new:
                path.rmdir()


@contextmanager
def locked(lock: Path, what: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a file as a lock: nobody else can hold it at the same time, and it is free when this process ends.

    Args:
        lock: the file, which is made, and removed in the end; its folder exists.
        what: what it guards, for the error.
        wait: until it is free, instead of raising.

    Raises:
        SpikedetError: somebody else holds it, or it cannot be made.
    """
    with _may_write(what):
        while (handle := _taken(lock)) is None:
            if not wait:
                raise SpikedetError(f"{what}: another run is writing to it; wait for its end, or choose another --out")
            time.sleep(_BUSY_S)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            lock.unlink()
        os.close(handle)
        _HELD.discard(lock.absolute())


def _taken(lock: Path) -> int | None:
    """The lock's open file; None where somebody else holds it. Raises OSError where it cannot be made."""
    with _GUARD:
        while lock.absolute() not in _HELD:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _lock(handle)
                mine = os.path.samestat(os.fstat(handle), os.stat(lock))  # or whoever held it has just removed it
            except (BlockingIOError, PermissionError):
                os.close(handle)
                return None
            except FileNotFoundError:
                mine = False
            except OSError:
                mine = True  # a file system without locks
            if mine:
                _HELD.add(lock.absolute())
                return handle
            os.close(handle)
    return None


def _lock(handle: int) -> None:
    """Lock an open file or raise OSError at once. Processes that this one starts do not hold the lock with it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def require_writable(folder: Path) -> None:
    """Find out now, and not after hours of work, whether a folder can be made and written to; nothing is left there.

    Raises:
        SpikedetError: it cannot.
    """
    folder = Path(folder).absolute()
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    with _may_write(folder), tempfile.TemporaryFile(dir=nearest):
        pass


def private_folder() -> Path:
    """A folder in the temporary directory that nobody else writes to.

    It is the same for every process of a user. Where something else has its name, it is a new one, which goes with this
    process: whoever made that may have put links into it.

    Raises:
        OSError: there is no temporary directory that can be written to.
    """
    user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""  # Windows has a temporary directory for each user
    folder = Path(tempfile.gettempdir()) / f"spikedet{user}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700 if user else 0o777)
    if is_private(folder):
        return folder
    made = tempfile.mkdtemp(prefix="spikedet-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def is_private(path: Path, is_kind: Callable[[int], bool] = stat.S_ISDIR) -> bool:
    """Whether it is a folder (or of another kind) of this user, no link to one, that no other user can write to."""
    info = os.lstat(path)
    return is_kind(info.st_mode) and (
        not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not info.st_mode & 0o022)
    )


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        most: bytes that it may have; None is ``MAX_TEXT_BYTES``.

    Raises:
        DataError: it is something else, such as a pipe or a device, or has more bytes.
        OSError: it cannot be read.
    """
    most = MAX_TEXT_BYTES if most is None else most
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DataError(f"{path}: a pipe or a device; expected a file")
        content = file.read(most + 1)
    if len(content) > most:
        raise DataError(f"{path}: larger than {most} bytes; expected a smaller file")
    return content


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text atomically and return the path; bytes of file names that are no UTF-8 are written escaped."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return Path(path)


def write_json(path: Path, value: Any) -> Path:
    """Write JSON atomically (sorted as given, no NaN) and return the path."""
    return write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to does not block."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _replace(temporary: Path, path: Path) -> None:
    for attempt in range(1, _BUSY_TRIES + 1):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if sys.platform != "win32" or attempt == _BUSY_TRIES:
                raise
            time.sleep(_BUSY_S)


@contextmanager
def _may_write(path: Path) -> Iterator[None]:
    """Raise SpikedetError, which names this path, where the block cannot make what it needs."""
    try:
        yield
    except OSError as error:
        raise SpikedetError(f"{path}: cannot write here ({error.strerror}); choose another output folder") from error


def _failed(path: Path, temporary: Path, error: OSError | SafetensorError, kept: str) -> SpikedetError:
    """Name the file that it went wrong with: the one to be written, or one that was read for it."""
    reason = getattr(error, "strerror", None) or error
    read = getattr(error, "filename", None)
    if isinstance(read, (str, os.PathLike)) and not Path(read).is_relative_to(temporary):
        return DataError(f"{read}: cannot be read ({reason}); {kept}")
    return SpikedetError(f"{path}: writing failed ({reason}); {kept}")

"""Files that only say where another file is."""

from __future__ import annotations

from pathlib import Path

_GIT_LFS = b"version https://git-lfs.github.com/spec/"


def lfs_pointer(path: Path) -> str:
    """A sentence without the path if Git LFS has left a pointer in the place of the file; else ""."""
    try:
        with open(path, "rb") as file:
            found = file.read(len(_GIT_LFS)) == _GIT_LFS
    except OSError:
        return ""
    return "a Git LFS pointer, not the file itself; run git lfs pull" if found else ""

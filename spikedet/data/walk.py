"""The files of a folder, found in the same way by every reader and by ``detect``.

Links to folders are followed, each folder once. Hidden and system files are skipped and counted.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from spikedet.common.counts import counted
from spikedet.common.errors import DataError

_SYSTEM = frozenset({"@eadir", "__macosx", "lost+found", "$recycle.bin", "system volume information", "#recycle"})
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
_UNREAD_IMAGES = frozenset({".heic", ".heif", ".j2k", ".jxl", ".gif", ".svg", ".psd", ".cr2", ".nef", ".arw", ".dng"})
_HIDDEN, _OWN = "hidden file or folder", "file or folder of the system"


@dataclass(frozen=True)
class Tree:
    """The visible files of a folder and its subfolders.

    Attributes:
        root: the folder.
        folders: file names, sorted, by the folder's path relative to ``root`` with ``/`` ("" is ``root`` itself).
        skipped: names of the files and folders that were skipped, by kind.
    """

    root: Path
    folders: dict[str, list[str]]
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def files(self, suffixes: Iterable[str]) -> Iterator[str]:
        """Relative paths of the files with these endings (in lower case)."""
        endings = tuple(suffixes)
        for folder, names in self.folders.items():
            start = f"{folder}/" if folder else ""
            yield from (start + name for name in names if name.lower().endswith(endings))

    def summary(self) -> str:
        """What there is: counts of endings by folder, in one line."""
        found, most = [], 8
        for folder, names in self.folders.items():
            counts = Counter(PurePosixPath(name).suffix.lower() or "without ending" for name in names)
            if counts:
                found.append(
                    f"{folder or '.'}/ has " + ", ".join(f"{n} {ending}" for ending, n in counts.most_common(4))
                )
        more = f"; and {len(found) - most} more folders" if len(found) > most else ""
        return "; ".join(found[:most]) + more if found else "no files"

    def skipped_text(self, known: Iterable[str] = ()) -> str:
        """What was skipped, by kind and with counts; "" where nothing was. Images of ``known`` endings are not."""
        parts = [
            f"{counted(len(names), kind, kind.replace('file or folder', 'files or folders'))} ({names[0]})"
            for kind, names in sorted(self.skipped.items())
        ]
        unread = Counter(PurePosixPath(path).suffix.lower() for path in self.files(_UNREAD_IMAGES - frozenset(known)))
        parts += [
            f"{counted(count, 'image')} of a format that is not read ({suffix})"
            for suffix, count in sorted(unread.items())
        ]
        return ", ".join(parts)


def walk(root: Path, without: Path | None = None) -> Tree:
    """Every visible file under a folder.

    Args:
        root: the folder.
        without: a folder, links resolved, that is not entered.

    Raises:
        DataError: a folder cannot be read.
    """
    folders: dict[str, list[str]] = {}
    skipped: dict[str, list[str]] = {}
    real = root.resolve()
    seen = {_identity(path) for path in (real, *real.parents)}
    links: list[str] = []
    stack = [""]
    while stack or links:
        if not stack:  # real folders come first, so that a folder and a link to it are read at the folder
            links.sort(reverse=True)
            relative = links.pop()
            path = root / relative
            identity = _identity(path)
            if identity in seen or (without is not None and path.resolve() == without):
                continue
            seen.add(identity)
            stack.append(relative)
        relative = stack.pop()
        names, below = [], []
        for entry in _entries(root / relative):
            kind = _skipped_kind(entry.name)
            inner = f"{relative}/{entry.name}" if relative else entry.name
            if kind:
                skipped.setdefault(kind, []).append(entry.name)
            elif entry.is_symlink() and os.path.isdir(entry):  # not where links lead in a circle
                links.append(inner)
            elif not entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
            elif without is None or Path(entry.path).resolve() != without:
                seen.add(_identity(Path(entry.path)))
                below.append(inner)
        folders[relative] = names
        stack += reversed(below)
    return Tree(root, dict(sorted(folders.items())), skipped)


def visible(folder: Path) -> list[Path]:
    """The visible files and folders directly in a folder. Raises DataError where it cannot be read."""
    return [folder / entry.name for entry in _entries(folder) if not _skipped_kind(entry.name)]


def say_skipped(tree: Tree, known: Iterable[str] = ()) -> None:
    """Log in one line what was skipped."""
    if text := tree.skipped_text(known):
        logging.getLogger("spikedet").warning("%s: skipped %s", tree.root, text)


def _skipped_kind(name: str) -> str:
    lower = name.lower()
    if lower in _SYSTEM or lower in _SYSTEM_FILES:
        return _OWN
    return _HIDDEN if name.startswith(".") else ""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with _reading(folder), os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _identity(folder: Path) -> tuple[int, int]:
    with _reading(folder):
        found = folder.stat()
    return found.st_dev, found.st_ino


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror}); check its permissions") from error

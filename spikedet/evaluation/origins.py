"""What results were made from: named relative to the results, and found again wherever both have gone since."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from spikedet.common.digests import file_sha256

LEVELS = 4
"""Folders above the results in which a name is looked up; checkpoints are compared by digest in the nearest two."""


def relative_name(path: Path, folder: Path) -> str:
    """The path as the results in a folder name it, with ``/``; absolute where no relative one leads there."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def places(name: str, folder: Path) -> Iterator[Path]:
    """What may be meant by a name in the results of a folder, and is there: the likeliest first, each once.

    Relative to the results; to where we are, as older results have it; to a folder above the results; or, if both were
    moved apart, by its last part in one of these.
    """
    bases = [folder, Path(), *folder.resolve().parents[:LEVELS]]
    seen = set()
    for path in (base / part for part in (name, Path(name).name) for base in bases):
        if (place := path.resolve()) not in seen and path.exists():
            seen.add(place)
            yield place


def find_checkpoint(names: Sequence[str], digest: str, folder: Path) -> Path | None:
    """The checkpoint of this digest: where a name leads, beside that place, or in or beside the results' folder."""
    led = [path for name in names for path in places(name, folder)]
    near = dict.fromkeys([*(path.parent for path in led), folder.resolve(), folder.resolve().parent])
    around = (path for base in near for path in sorted([*base.glob("*.safetensors"), *base.glob("*/*.safetensors")]))
    return next((path for path in chain(led, around) if path.is_file() and file_sha256(path) == digest), None)

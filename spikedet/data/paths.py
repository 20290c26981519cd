"""Paths that stand in somebody's annotation files: they may not lead out of the dataset's folder."""

from __future__ import annotations

import os
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.values import shown


def contained(root: Path, written: str, where: str, home: Path | None = None) -> Path:
    """The path that ``written`` represents, which need not exist.

    Args:
        root: the dataset's folder, with links resolved.
        written: relative to ``home``, or absolute.
        where: the file that has it, for the error.
        home: a folder within ``root``; None is ``root``.

    Raises:
        DataError: it leads out of ``root``, by itself or through a link, or cannot be a path.
    """
    path = Path(os.path.normpath((home or root) / written))
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{where}: {shown(written)} is not a path; expected that of a file in {root}") from error
    if not real.is_relative_to(root):
        raise DataError(f"{where}: {shown(written)} leads out of {root}; expected a path within it, links followed")
    return path if path.is_relative_to(root) else real

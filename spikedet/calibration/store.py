"""Spike trains and activations of the calibration pictures, each computed once.

Spikes are kept as bits, QC activations as their level in one byte. What exceeds the memory budget goes to a temporary
folder on disk. Entries are dropped when their last reader is done, so that cost is linear in depth.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


class ByteStore:
    """Named uint8 arrays, pictures along the first axis, in memory up to a budget and memory-mapped beyond it.

    Args:
        budget_bytes: for all arrays together.
        folder: where the temporary folder for the rest is made; None is the system's.
    """

    def __init__(self, budget_bytes: float, folder: Path | None = None) -> None:
        self._budget = budget_bytes
        self._arrays: dict[str, Bytes] = {}
        self._disk = tempfile.TemporaryDirectory(prefix="spikedet-calibration-", dir=folder)

    def create(self, name: str, shape: Sequence[int]) -> Bytes:
        """A new writable array, pictures first; on disk if memory would exceed the budget.

        Raises:
            OSError: the disk has no room for it.
        """
        if self.memory_bytes + int(np.prod(shape)) <= self._budget:
            array: Bytes = np.zeros(shape, np.uint8)
        else:
            path = Path(self._disk.name) / f"{name}.bin"
            _reserve(path, int(np.prod(shape)))
            array = np.memmap(path, np.uint8, "r+", shape=tuple(shape))
        self._arrays[name] = array
        return array

    def __getitem__(self, name: str) -> Bytes:
        return self._arrays[name]

    def names(self) -> set[str]:
        """Of the arrays that are held."""
        return set(self._arrays)

    def drop(self, name: str) -> None:
        """Forget an array, and its file."""
        array = self._arrays.pop(name)
        if isinstance(array, np.memmap) and array.filename is not None:
            Path(str(array.filename)).unlink(missing_ok=True)

    @property
    def memory_bytes(self) -> int:
        """Bytes held in memory."""
        return sum(a.nbytes for a in self._arrays.values() if not isinstance(a, np.memmap))

    @property
    def disk_bytes(self) -> int:
        """Bytes held on disk."""
        return sum(a.nbytes for a in self._arrays.values() if isinstance(a, np.memmap))

    def close(self) -> None:
        """Remove everything."""
        self._arrays.clear()
        self._disk.cleanup()


def _reserve(path: Path, size: int) -> None:
    """A file of zeros whose room is taken now: on a full disk, a page that is written later would be a signal."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)

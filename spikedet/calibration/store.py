"""Spike trains and activations of the calibration images, each computed once.

Spikes are kept as bits, QC activations as their level in one byte. What exceeds the memory budget goes to files without
a name in the system's temporary folder, which are gone with the process, however that ends. Entries are dropped when
their last reader is done, so that cost is linear in depth.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikedet.common.errors import SpikedetError

Bytes = npt.NDArray[np.uint8]


class ByteStore:
    """Named uint8 arrays, images along the first axis, in memory up to a budget and memory-mapped beyond it.

    Args:
        budget_bytes: for all arrays together.
    """

    def __init__(self, budget_bytes: float) -> None:
        self._budget = budget_bytes
        self._arrays: dict[str, Bytes] = {}

    def create(self, name: str, shape: Sequence[int]) -> Bytes:
        """A new writable array, images first; on disk if memory would exceed the budget.

        Raises:
            SpikedetError: the disk has no room for it.
        """
        size = int(np.prod(shape))
        array = np.zeros(shape, np.uint8) if self.bytes() + size <= self._budget else _on_disk(shape, size)
        self._arrays[name] = array
        return array

    def __getitem__(self, name: str) -> Bytes:
        return self._arrays[name]

    def names(self) -> set[str]:
        """Of the arrays that are held."""
        return set(self._arrays)

    def drop(self, name: str) -> None:
        """Forget an array; its file goes with it."""
        del self._arrays[name]

    def bytes(self, *, on_disk: bool = False) -> int:
        """Bytes held in memory, or on disk."""
        return sum(a.nbytes for a in self._arrays.values() if isinstance(a, np.memmap) == on_disk)


def _on_disk(shape: Sequence[int], size: int) -> Bytes:
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # room is taken now: a page written later to a full disk is a signal
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.memmap(file, np.uint8, "r+", shape=tuple(shape))  # keeps the file, not its handle
    except OSError as error:
        raise SpikedetError(
            f"{tempfile.gettempdir()}: no room for {size / 2**20:.0f} MiB of spikes ({error.strerror}); name a larger "
            "folder in the variable TMPDIR, or raise memory_budget_gb"
        ) from error

"""How much memory is free, and what becomes of memory that tensors free."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

CONTAINERS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Folder, limit, use, and the part of the use that is given back on demand: of both versions of control groups."""

_TRIM, _PAD, _MAPS = -1, -2, -4
"""Numbers of glibc's ``mallopt``: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX."""

_DEFAULTS = {_TRIM: 128 << 10, _PAD: 128 << 10, _MAPS: 1 << 16}
_KEEPING = {_TRIM: 2**31 - 1, _PAD: 64 << 20, _MAPS: 0}


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Within the block, glibc keeps what tensors free for the next ones. Other C libraries do as they always do.

    By default it gives large blocks back to the kernel and asks for them anew, which takes a sixth of a training step.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    try:
        _set(libc, _KEEPING)
        yield
    finally:
        _set(libc, _DEFAULTS)
        libc.malloc_trim(ctypes.c_size_t(0))


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)


def free_bytes(device: torch.device) -> int:
    """Bytes that may still be taken on a device; of a container's memory, if that is less than the machine's."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    free = psutil.virtual_memory().available
    for folder, limit, used, reclaimed in CONTAINERS:
        with suppress(OSError, ValueError, KeyError):  # no such group, or no limit: "max"
            most, taken = (int(Path(folder, name).read_text()) for name in (limit, used))
            shares = dict(line.split() for line in Path(folder, "memory.stat").read_text().splitlines())
            free = min(free, max(most - taken + int(shares[reclaimed]), 0))
    return free

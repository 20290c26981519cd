"""How much memory is free."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import torch

CONTAINERS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Folder, limit, use, and the part of the use that is given back on demand: of both versions of control groups."""


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

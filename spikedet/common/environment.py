"""What surrounds a run: seeds, device, and versions for the record."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import torch

from spikedet.common.distributed import local_rank
from spikedet.common.errors import ConfigError
from spikedet.common.precision import multiplies_bfloat16


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def pick_device(name: str) -> torch.device:
    """``"auto"`` is a CUDA device where there is one, each process its own; otherwise the CPU."""
    if name == "auto":
        name = f"cuda:{local_rank()}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: not a device; expected auto, cpu or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: networks run on a CPU or on CUDA; expected auto, cpu or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    return device


def free_memory() -> int:
    """Bytes that this process can still take, by the machine's memory and its container's."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return free


@functools.cache
def versions() -> dict[str, str]:
    """Versions and git revision for checkpoints and results."""
    packages = ("spikedet", "torch", "torchvision", "ultralytics", "pycocotools", "numpy")
    found = {"python": platform.python_version(), "platform": platform.machine(), "cpu": _instructions()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["git"] = _git_revision()
    return found


def _instructions() -> str:
    """Of the CPU, as torch uses them: sums are added up in another order, and ``--precision auto`` decides by them."""
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{vectors}, bfloat16" if multiplies_bfloat16(torch.device("cpu")) else vectors


def _git_revision() -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "not a checkout"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"

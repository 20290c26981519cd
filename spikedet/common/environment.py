"""What surrounds a run: seeds, device, and versions for the record."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import platform
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikedet.common.distributed import local_rank
from spikedet.common.errors import ConfigError
from spikedet.common.precision import multiplies_bfloat16
from spikedet.kernels.library import available


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


def versions() -> dict[str, str]:
    """What decides the bytes of checkpoints and results beside settings and data: versions, git revision, hardware.

    "cpu" and "threads" decide the order in which torch adds up, "kernels" whether ours compute instead of torch.
    """
    return {**_installed(), "threads": str(torch.get_num_threads()), "kernels": "compiled" if available() else "none"}


def run_facts(config: Any) -> dict[str, Any]:
    """What results keep of the run that made them: versions, the command line, and its settings (a dataclass)."""
    command = shlex.join(["spikedet", *sys.argv[1:]])
    return {"versions": versions(), "command": command, "config": dataclasses.asdict(config)}


@functools.cache
def _installed() -> dict[str, str]:
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

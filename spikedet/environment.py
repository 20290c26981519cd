"""What surrounds a run: versions for the record, and an ultralytics that neither phones home nor writes there."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import platform
import random
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch


def quiet_ultralytics() -> None:
    """Keep ultralytics and albumentations off the network and out of the home folder. Idempotent.

    Must run before the first ``import ultralytics``; ``spikedet/__init__.py`` calls it.
    """
    os.environ["YOLO_OFFLINE"] = "1"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if "YOLO_CONFIG_DIR" not in os.environ:
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        folder = Path(tempfile.gettempdir()) / f"spikedet-{user}"
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["YOLO_CONFIG_DIR"] = str(folder)
    logging.getLogger("ultralytics").setLevel(logging.WARNING)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def pick_device(name: str) -> torch.device:
    """``"auto"`` is the first CUDA device where there is one, otherwise the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@functools.cache
def versions() -> dict[str, str]:
    """Versions and git revision for checkpoints and results."""
    packages = ("spikedet", "torch", "torchvision", "ultralytics", "pycocotools", "numpy")
    found = {"python": platform.python_version(), "platform": platform.machine()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["git"] = _git_revision()
    return found


def _git_revision() -> str:
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return "not a checkout"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"

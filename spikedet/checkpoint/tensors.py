"""Tensors of safetensors files: opened within bounds, their values checked, held against those of an architecture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spikedet.common.errors import CheckpointError

UNREADABLE = (SafetensorError, OSError, ValueError)
"""What reading a file raises that is no whole safetensors file."""
MOST_HEADER = 8 * 2**20
"""Bytes of a file's header: names and shapes of tensors, and the metadata."""
MOST_TENSORS = 20_000
LARGEST = 1e8
"""Magnitude of any value; products of larger ones leave float32."""
THETA = (1e-12, LARGEST)
"""Thresholds."""
_RANGES = {"theta": THETA, "log_theta": (math.log(THETA[0]), math.log(THETA[1])), "running_var": (0.0, LARGEST)}
"""Least and most of kinds of tensors, by the last part of their names."""


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file. Raises one of ``UNREADABLE``."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MOST_HEADER:
        raise ValueError(f"its header has {size} bytes; expected at most {MOST_HEADER}")
    with safe_open(path, framework="pt") as opened:
        if len(opened.keys()) > MOST_TENSORS:
            raise ValueError(f"it has {len(opened.keys())} tensors; expected at most {MOST_TENSORS}")
        yield opened


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file; floating-point ones as float32. Raises one of ``UNREADABLE``."""
    with open_tensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def problem(name: str, value: Tensor) -> str | None:
    """What is wrong with the values of a tensor of a network, if anything; the tensor is named."""
    if not value.is_floating_point() or not value.numel():
        return None
    lowest, highest = map(float, torch.aminmax(value))  # NaN where one is
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        return f"{name} holds NaN or infinite values"
    least, most = _RANGES.get(name.rpartition(".")[2], (-LARGEST, LARGEST))
    if lowest < least or highest > most:
        wrong = lowest if lowest < least else highest
        return f"{name} holds {wrong:.3g}; expected values from {least:.3g} to {most:.3g}"
    return None


def require_fit(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of a network: by name, shape and type.

    Args:
        path: the file, for messages.
        tensors: of the file.
        expected: the network's own, on any device.

    Raises:
        CheckpointError: naming the first tensor that does not fit.
    """
    if problem := _misfit(tensors, expected):
        raise CheckpointError(f"{path}: its tensors do not fit its architecture: {problem}")


def _misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    for name, own in expected.items():
        value = tensors.get(name)
        if value is None:
            return f"there is no {name}"
        if value.shape != own.shape:
            return f"{name} has the shape {list(value.shape)}; expected {list(own.shape)}"
        if value.dtype != own.dtype:
            kinds = [str(kind).removeprefix("torch.") for kind in (value.dtype, own.dtype)]
            return f"{name} is {kinds[0]}; expected {kinds[1]}"
    return next((f"{name} is unknown" for name in tensors if name not in expected), None)

"""What a command line gets right before anything is computed: shipped weights by name, an output to write to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from spikedet.common.errors import ConfigError
from spikedet.common.files import require_writable
from spikedet.common.resources import shipped_file

Config = TypeVar("Config")

CHECKPOINT_FIELDS = ("checkpoint", "checkpoints", "teacher", "weights", "qc", "source", "ann")
FILE_SUFFIXES = (".safetensors", ".html")
"""Of an ``out`` that is a file and no folder."""


def prepared(config: Config) -> Config:
    """The configuration with shipped weights by their paths.

    Raises:
        ConfigError: the output would lie beside a shipped checkpoint.
        SpikedetError: the output cannot be written.
    """
    changes = dict[str, Any]()
    for name in CHECKPOINT_FIELDS:
        value = getattr(config, name, None)
        if isinstance(value, tuple):
            changes[name] = tuple(str(shipped_file(item) or item) for item in value)
        elif isinstance(value, str) and (shipped := shipped_file(value)):
            changes[name] = str(shipped)
    if not getattr(config, "dry_run", False):
        if getattr(config, "out", None) == "" and "checkpoint" in changes:
            raise ConfigError(f"--out is missing: {config.checkpoint} is the package's own, say where to write")  # type: ignore[attr-defined]
        for folder in _folders(config):
            require_writable(folder)
    return dataclasses.replace(config, **changes) if changes else config  # type: ignore[type-var]


def _folders(config: object) -> Iterator[Path]:
    """What a command will write into, as its settings say."""
    out, checkpoint, detections = (getattr(config, name, "") for name in ("out", "checkpoint", "detections"))
    if out:
        yield Path(out).parent if Path(out).suffix in FILE_SUFFIXES else Path(out)
    elif checkpoint:
        yield Path(checkpoint).parent
    if detections:
        yield Path(detections)

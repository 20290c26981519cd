"""What a command line gets right before anything is computed: shipped weights by name, an output to write to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from spikedet.errors import ConfigError
from spikedet.files import require_writable
from spikedet.resources import shipped_weights

Config = TypeVar("Config")

CHECKPOINT_FIELDS = ("checkpoint", "checkpoints", "teacher", "weights", "qc", "source")
FILE_SUFFIXES = (".safetensors", ".html")
"""Of an ``out`` that is a file and no folder."""


def prepared(config: Config) -> Config:
    """The configuration with shipped weights by their paths.

    Raises:
        ConfigError: the output would lie beside a shipped checkpoint.
        SpikedetError: the output cannot be written.
    """
    shipped, changes = shipped_weights(), dict[str, Any]()
    for name in CHECKPOINT_FIELDS:
        value = getattr(config, name, None)
        if isinstance(value, tuple):
            changes[name] = tuple(str(shipped.get(item, item)) for item in value)
        elif value in shipped:
            changes[name] = str(shipped[value])
    out = getattr(config, "out", None)
    if out == "" and "checkpoint" in changes and not getattr(config, "dry_run", False):
        raise ConfigError(f"--out is missing: {config.checkpoint} is the package's own, say where to write")  # type: ignore[attr-defined]
    if out:
        path = Path(out)
        require_writable(path.parent if path.suffix in FILE_SUFFIXES else path)
    return dataclasses.replace(config, **changes) if changes else config  # type: ignore[type-var]

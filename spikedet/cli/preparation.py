"""What is settled before anything is computed: paths, shipped weights by name, folders that can be written to."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from spikedet.common.errors import ConfigError
from spikedet.common.files import require_writable
from spikedet.common.resources import shipped_file

Config = TypeVar("Config")

CHECKPOINT_FIELDS = ("checkpoint", "checkpoints", "teacher", "weights", "qc", "source", "ann")
FILE_SUFFIXES = (".safetensors", ".html", ".onnx", ".xml", ".nir", ".py")
"""Of an ``out`` that is a file and no folder."""


def prepared(config: Config) -> Config:
    """The configuration with shipped weights by their paths and home folders (``~``) written out.

    Raises:
        ConfigError: the output would lie beside a shipped checkpoint, or no temporary folder can be written to.
        SpikedetError: the output cannot be written.
    """
    _require_temporary()
    values = {item.name: _with_homes(getattr(config, item.name)) for item in dataclasses.fields(config)}  # type: ignore[arg-type]
    config = dataclasses.replace(config, **values)  # type: ignore[type-var]
    changes = dict[str, Any]()
    for name in CHECKPOINT_FIELDS:
        value = values.get(name)
        if isinstance(value, tuple):
            changes[name] = tuple(str(shipped_file(item) or item) for item in value)
        elif isinstance(value, str) and (shipped := shipped_file(value)):
            changes[name] = str(shipped)
    if not values.get("dry_run"):
        if values.get("out") == "" and "checkpoint" in changes:
            raise ConfigError(f"--out is missing: {values['checkpoint']} is the package's own, say where to write")
        for folder in _folders(config):
            require_writable(folder)
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def _require_temporary() -> None:
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigError(
            "no folder for temporary files can be written to; make room, or name one in the variable TMPDIR"
        ) from error


def _with_homes(value: Any) -> Any:
    """``~`` and ``~user`` at the beginning of a path written out, wherever the path comes from."""
    if isinstance(value, tuple):
        return tuple(os.path.expanduser(part) if isinstance(part, str) else part for part in value)
    return ",".join(map(os.path.expanduser, value.split(","))) if isinstance(value, str) else value  # several weights


def output_folder(config: object) -> Path | None:
    """The folder that a command writes several files to; None where it writes one or none."""
    out, checkpoint = (getattr(config, name, "") for name in ("out", "checkpoint"))
    if getattr(config, "dry_run", False) or Path(out).suffix in FILE_SUFFIXES:
        return None
    return Path(out) if out else Path(checkpoint).parent if checkpoint else None


def _folders(config: object) -> Iterator[Path]:
    """What a command will write into, as its settings say."""
    out, detections = (Path(getattr(config, name, "")) for name in ("out", "detections"))
    yield from filter(None, [out.parent if out.suffix in FILE_SUFFIXES else output_folder(config)])
    if detections != Path():
        yield detections

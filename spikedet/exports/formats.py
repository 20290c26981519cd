"""The formats: what writes a file, what runs it, and what must be installed for both.

A new format is a row here and two functions:

    write(subject: Subject, path: Path) -> dict[str, str]     facts worth telling, by name
    read(path: Path) -> tuple[ExportMeta, Run]                its metadata, and the file as a function of images

A format whose files are not read back for others (see READABLE) has ``run(path: Path) -> Run`` in its place.
``write`` gets a path in an empty folder and may write further files beside it, whose names begin with its stem.
It raises ExportError, naming the layer, where the format cannot hold the network.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikedet.common.errors import ConfigError, ExportError
from spikedet.config.export import ExportFormat
from spikedet.exports.metadata import ExportMeta
from spikedet.exports.subject import Run, Subject


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        suffix: of the file.
        module: where its functions ``write`` and ``run`` are.
        packages: imported by them, by the names that pip knows.
        stages: what it can hold, "ann", "qc" and "spiking".
        idle: settings of an export that do nothing there.
    """

    suffix: str
    module: str
    packages: tuple[str, ...]
    stages: tuple[str, ...] = ("ann", "qc", "spiking")
    idle: tuple[str, ...] = ()

    def write(self, subject: Subject, path: Path) -> dict[str, str]:
        """Write a file. Raises ConfigError without the packages, ExportError for a network that it cannot hold."""
        if subject.network.group:
            raise ExportError(
                f"{subject.config.to}: integers over several real time steps (SFA) have no form there yet"
            )
        return self._function("write")(subject, path)

    def run(self, path: Path) -> Run:
        """A file as a function of images. Raises ConfigError without the packages, CheckpointError for a bad file."""
        return self.read(path)[1] if self.suffix in READABLE else self._function("run")(path)

    def read(self, path: Path) -> tuple[ExportMeta, Run]:
        """A file that others may have written: its metadata, and the file as a function of images. Raises as run."""
        return self._function("read")(path)

    def _function(self, name: str) -> Callable[..., Any]:
        for package in self.packages:
            require(package)
        return getattr(importlib.import_module(f"spikedet.exports.{self.module}"), name)


READABLE = (".onnx", ".xml")
"""Of files that are data and no programs."""
FORMATS: dict[ExportFormat, Format] = {
    "onnx": Format(".onnx", "onnx_file", ("onnx", "onnxruntime")),
    "onnx-int8": Format(".onnx", "onnx_file", ("onnx", "onnxruntime"), ("qc",)),
    "openvino": Format(".xml", "openvino_file", ("onnx", "openvino")),
    "spikingjelly": Format(".py", "spikingjelly_file", ("spikingjelly",), ("spiking",), ("boxes", "unroll")),
    "nir": Format(".nir", "nir_file", ("nir",), ("spiking",), ("boxes", "unroll")),
    "fixed-point": Format(".safetensors", "fixed_point_file", (), ("spiking",), ("boxes", "unroll", "t")),
}


def format_to_read(path: Path) -> Format | None:
    """The format of a file that can be evaluated, by its suffix; None for other files."""
    return next((row for row in FORMATS.values() if path.suffix == row.suffix and path.suffix in READABLE), None)


def format_of(name: ExportFormat, out: Path) -> Format:
    """The row of a format. Raises ConfigError where the output file has another suffix."""
    found = FORMATS[name]
    if out.suffix != found.suffix:
        raise ConfigError(f"--out {out}: expected a file that ends in {found.suffix} for --to {name}")
    return found


def require(package: str) -> Any:
    """Import an optional package. Raises ConfigError, with what to install, where it is missing.

    Nothing is sent: without ``openvino_telemetry`` OpenVINO uses its own stub; onnxruntime's events (Windows) are off.
    """
    if package == "openvino":
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(f"exports need the package {package} ({error}); pip install 'spikedet[export]'") from error
    if package == "onnxruntime":
        module.disable_telemetry_events()
    return module

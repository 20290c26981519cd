"""Detectors that ultralytics has trained: architecture, class names and tensors of their ``.pt`` files.

Nothing of such a file is made or run, see ``torch_archive``. Its architecture is checked like any YAML, and its tensors
are loaded into our own model of that architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spikedet.checkpoint.tensors import problem
from spikedet.common.errors import CheckpointError
from spikedet.common.pointers import lfs_pointer
from spikedet.models.torch_archive import DAMAGES, Inert, Stored, TorchArchive, open_torch

SUFFIX = ".pt"
SILU = "torch.nn.SiLU()"
_SILU = "torch.nn.modules.activation.SiLU"
MOST_MODULES = 20_000
DEEPEST = 20
"""Modules of a model, and how far they may lie within each other."""


@dataclass(frozen=True)
class Imported:
    """What an ultralytics checkpoint says.

    Attributes:
        architecture: the model YAML as a mapping, not checked yet; its activation is SiLU where any layer has it.
        class_names: in label order.
        image_size: side of the square input it was trained for.
        tensors: its averaged weights where there are some, as float32.
        credits: notices that networks trained from them carry.
    """

    architecture: dict[str, Any]
    class_names: tuple[str, ...]
    image_size: int
    tensors: dict[str, Tensor]
    credits: tuple[str, ...] = ()


def read_ultralytics(path: Path) -> Imported:
    """Read an ultralytics detection checkpoint.

    Raises:
        CheckpointError: no such file, no such checkpoint, or one that is damaged or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; expected a .pt file written by ultralytics")
    try:
        with open_torch(path) as archive:
            return _imported(archive)
    except DAMAGES as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        problem = lfs_pointer(path) or f"refused, not an ultralytics detection checkpoint ({reason})"
        raise CheckpointError(f"{path}: {problem}") from error


def _imported(archive: TorchArchive) -> Imported:
    content = archive.content
    model = (content.get("ema") or content["model"]).state
    names, size = model["names"], content.get("train_args", {}).get("imgsz", 640)
    class_names = tuple(names[label] for label in range(len(names)))
    if not all(isinstance(name, str) for name in class_names) or type(size) is not int:
        raise ValueError("its class names are no texts, or its image size is no whole number")
    modules = list(_modules(model))
    architecture = {key: value for key, value in model["yaml"].items() if key not in ("ch", "channels", "yaml_file")}
    if not architecture.get("scale"):
        architecture.pop("scale", None)
    if any(module.name == _SILU for _, module in modules):  # RepConv keeps it, whatever the YAML says
        architecture["activation"] = SILU
    tensors = {
        f"{prefix}{name}": archive.read(value)
        for prefix, module in modules
        for part in ("_parameters", "_buffers")
        for name, value in module.state[part].items()
        if isinstance(value, Stored)
    }
    if wrong := next((found for name, value in tensors.items() if (found := problem(name, value))), None):
        raise ValueError(wrong)
    return Imported(architecture, class_names, size, tensors)


def _modules(model: dict[str, Any]) -> list[tuple[str, Inert]]:
    """Every module of a model with the prefix of its tensors' names, as ``state_dict`` writes them."""
    found: list[tuple[str, Inert]] = []
    todo = [(f"{name}.", module, 1) for name, module in model["_modules"].items()]
    while todo:
        prefix, module, level = todo.pop()
        if not isinstance(module, Inert) or not isinstance(module.state, dict):
            continue
        found.append((prefix, module))
        if level > DEEPEST or len(found) + len(todo) > MOST_MODULES or len(prefix) > 300:
            raise ValueError("its model has too many modules, or they lie within each other")
        todo += [(f"{prefix}{name}.", inner, level + 1) for name, inner in module.state["_modules"].items()]
    return found

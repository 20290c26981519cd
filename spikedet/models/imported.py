"""Detectors that ultralytics has trained: their ``.pt`` files read without running code in them.

The file is unpickled with ultralytics' restricted loader, which makes objects of its own and torch's classes only. Of
what it holds, the architecture, the class names and the tensors are taken, the architecture checked like any YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from ultralytics.nn.tasks import torch_safe_load

from spikedet.common.errors import CheckpointError

SUFFIX = ".pt"
SILU = "torch.nn.SiLU()"


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
        CheckpointError: no such file, no such checkpoint, or one that holds anything but known model classes.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; expected a .pt file written by ultralytics")
    try:
        content, _ = torch_safe_load(path.resolve(), safe_only=True)
        model = content.get("ema") or content["model"]
        architecture, names = dict(model.yaml), model.names
        if any(isinstance(module, nn.SiLU) for module in model.modules()):  # RepConv keeps it, whatever the YAML says
            architecture["activation"] = SILU
        tensors = {name: value.float() for name, value in model.state_dict().items()}
        class_names = tuple(str(names[label]) for label in range(len(names)))
        size = int(content.get("train_args", {}).get("imgsz", 640))
    except Exception as error:  # a damaged file makes the unpickler fail in any way, of which IndexError is one
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{path}: refused, not an ultralytics detection checkpoint made of known model classes ({reason})"
        ) from error
    hidden = ("ch", "channels", "yaml_file", *(() if architecture.get("scale") else ("scale",)))
    architecture = {key: value for key, value in architecture.items() if key not in hidden}
    return Imported(architecture, class_names, size, tensors)

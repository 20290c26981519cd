"""The state of an unfinished run: safetensors plus JSON, so that nothing has to be unpickled to resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from spikedet.checkpoint.tensors import UNREADABLE, open_tensors
from spikedet.common.errors import CheckpointError
from spikedet.common.files import atomic_path

_KEY = "spikedet-training"
"""Of the JSON in a file's metadata."""


def save_state(path: Path, modules: dict[str, dict[str, Tensor]], optimizer: dict[str, Any], facts: Any) -> None:
    """Write state dicts by name, the optimizer's tensors and JSON facts in one atomic file."""
    tensors = {f"{part}/{name}": value for part, state in modules.items() for name, value in state.items()}
    scalars: dict[str, dict[str, Any]] = {}
    for index, slots in optimizer["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    header = {"facts": facts, "groups": _json_groups(optimizer["param_groups"]), "scalars": scalars}
    with atomic_path(path) as temporary:
        stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        save_file(stored, temporary, metadata={_KEY: json.dumps(header)})


def load_state(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any], Any]:
    """What ``save_state`` wrote: ``(modules, optimizer state dict, facts)``.

    Raises:
        CheckpointError: missing, truncated or not a training state.
    """
    try:
        with open_tensors(path) as file:
            header = json.loads((file.metadata() or {})[_KEY])
            # Copies: Windows does not replace a file whose content is still mapped, and optimizers keep what they get.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        modules: dict[str, dict[str, Tensor]] = {}
        slots: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in header["scalars"].items()}
        for name, value in tensors.items():
            part, rest = name.split("/", 1)
            if part == "optimizer":
                index, slot = rest.split("/", 1)
                slots.setdefault(int(index), {})[slot] = value
            else:
                modules.setdefault(part, {})[rest] = value
        groups = [dict(group) for group in header["groups"]]
        return modules, {"state": slots, "param_groups": groups}, header["facts"]
    except (*UNREADABLE, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: no training state to resume from ({error}); train without --resume") from error


def _json_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain = (int, float, str, bool, type(None), list, tuple)
    return [{k: v for k, v in group.items() if isinstance(v, plain)} for group in groups]


def load_adam_(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Put a saved state into an optimizer, all of it checked first: torch itself fails at the next step, if at all.

    Args:
        optimizer: Adam or AdamW.
        saved: as ``load_state`` gives it.

    Raises:
        ValueError: not what an optimizer of these parameters and settings (but for learning rates) would have saved.
    """
    own = json.loads(json.dumps(_json_groups(optimizer.state_dict()["param_groups"])))
    groups = saved["param_groups"]
    if list(map(_fixed, groups)) != list(map(_fixed, own)):
        raise ValueError("its optimizer has other parameters or settings, or an impossible learning rate")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, slots in saved["state"].items():
        if not 0 <= index < len(parameters) or not _fit(slots, parameters[index]):
            raise ValueError(f"what its optimizer keeps of parameter {index} is damaged")
    groups = [{**mine, "lr": group["lr"]} for mine, group in zip(own, groups, strict=True)]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


def _fixed(group: dict[str, Any]) -> dict[str, Any]:
    """The settings that training leaves as they are on any device, and whether the learning rate can be one."""
    possible = isinstance(group.get("lr"), float) and 0 <= group["lr"] < float("inf")
    return {**{name: value for name, value in group.items() if name not in ("lr", "fused", "foreign")}, "lr": possible}


def _fit(slots: dict[str, Any], parameter: Tensor) -> bool:
    """Whether these are Adam's count of steps and two moments of a parameter."""
    if slots.keys() != {"step", "exp_avg", "exp_avg_sq"} or not all(isinstance(v, Tensor) for v in slots.values()):
        return False
    step, moments = slots["step"], (slots["exp_avg"], slots["exp_avg_sq"])
    counts = step.shape == () and step.dtype == torch.float32 and 0 <= float(step) < float("inf")
    return counts and all(m.shape == parameter.shape and m.dtype == parameter.dtype for m in moments)


def finite(tensors: dict[str, Tensor]) -> bool:
    """True if no floating-point tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point())


def alike(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """True if two state dicts have the same names, shapes and types."""
    form, other = ({name: (t.shape, t.dtype) for name, t in state.items()} for state in (tensors, others))
    return form == other

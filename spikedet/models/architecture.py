"""Model YAMLs: found by name, and checked against a whitelist before anything in them reaches ultralytics.

Ultralytics passes ``activation:`` to eval and looks modules up by name.
"""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import ultralytics

from spikedet.common.errors import ConfigError
from spikedet.common.resources import resource_folder
from spikedet.common.yaml import read_mapping
from spikedet.config import Activation
from spikedet.data.values import shown

ALLOWED_MODULES = frozenset(
    {"Conv", "DWConv", "Bottleneck", "C2", "C2f", "C3", "C3k2", "Concat", "Detect", "SPP", "SPPF"}
    | {"AConv", "ADown", "ELAN1", "RepNCSPELAN4", "SPPELAN"}
    | {"nn.Upsample", "nn.AvgPool2d", "nn.MaxPool2d", "nn.ZeroPad2d", "nn.Identity", "Add", "DirectDetect"}
)
HEADS = ("Detect", "DirectDetect")
READ_LISTS = ("Concat", "Add", *HEADS)
POOLING_MODULES = frozenset({"nn.MaxPool2d", "SPP", "SPPF", "SPPELAN", "ADown"})
ALLOWED_ACTIVATION = re.compile(r"(torch\.)?nn\.(ReLU\(\)|LeakyReLU\((0?\.\d{1,6})?\))")
ACTIVATIONS = {"clip": "torch.nn.ReLU()", "leaky": "torch.nn.LeakyReLU(0.1)"}
LARGEST = {"nc": 100_000, "reg_max": 256, "depth_multiple": 16, "width_multiple": 16}
LARGEST |= {"repeats": 100, "channels": 4096, "kernel": 64, "values": 10_000, "levels": 10, "blocks": 500}
"""Larger numbers are mistakes that would fill the memory before anything could say so."""
_ALLOWED_WORDS = frozenset({"nc", "nearest", "None"})
_ALLOWED_KEYS = frozenset(
    {"nc", "activation", "depth_multiple", "width_multiple", "scales", "scale", "reg_max", "backbone", "head"}
)


def load_model_yaml(model: str, activation: Activation = "") -> dict[str, Any]:
    """A model's architecture, checked.

    Args:
        model: a name under configs/models, the path of a YAML file, or the file name of a model that comes with
            ultralytics (``yolov8n.yaml``; a letter for the scale).
        activation: ``clip`` or ``leaky`` in place of the file's own.

    Raises:
        ConfigError: no such model, malformed YAML, or something outside the whitelist.
    """
    architecture, source = read_model_yaml(model, activation)
    check_architecture(architecture, source)
    return architecture


def read_model_yaml(model: str, activation: Activation = "") -> tuple[dict[str, Any], str]:
    """The same, not checked yet, and what to call it in messages."""
    path, scale = _find(model)
    architecture = {**read_mapping(path, "backbone and head"), **({"scale": scale} if scale else {})}
    return architecture | ({"activation": ACTIVATIONS[activation]} if activation else {}), str(path)


def average_pools(architecture: dict[str, Any]) -> dict[str, Any]:
    """The same architecture with average pooling in place of every ``nn.MaxPool2d`` layer."""
    made = copy.deepcopy(architecture)
    for row in [*made["backbone"], *made["head"]]:
        row[2] = "nn.AvgPool2d" if row[2] == "nn.MaxPool2d" else row[2]
    return made


def has_max_pools(architecture: dict[str, Any]) -> bool:
    """Whether any of its layers takes maxima."""
    return any(row[2] in POOLING_MODULES for row in [*architecture["backbone"], *architecture["head"]])


def has_leaky_activations(architecture: dict[str, Any]) -> bool:
    """Whether its activations are LeakyReLU, where others are ReLU."""
    return "LeakyReLU" in str(architecture.get("activation"))


def _find(model: str) -> tuple[Path, str]:
    """The file of a model and the scale that its name asks for."""
    if model.endswith(".pt"):
        raise ConfigError(f"model {model!r}: --from takes the model's YAML; the .pt file goes to --weights")
    own = resource_folder("configs") / "models"
    path = Path(model) if model.endswith((".yaml", ".yml")) else own / f"{model}.yaml"
    if path.is_file():
        return path, ""
    folder = Path(ultralytics.__file__).parent / "cfg" / "models"
    bundled = {found.stem: found for found in sorted(folder.rglob("*.yaml"))} if path.suffix else {}
    if path.stem in bundled and path.name == model:
        return bundled[path.stem], ""
    scaled = re.fullmatch(r"(yolov?\d+)([nslmx])(.*)", path.stem)
    if scaled and scaled[1] + scaled[3] in bundled and path.name == model:
        return bundled[scaled[1] + scaled[3]], scaled[2]
    known = ", ".join(sorted(p.stem for p in own.glob("*.yaml")))
    raise ConfigError(
        f"model {model!r} not found; expected one of {known}, the path of a model YAML, or the file name of one of "
        "ultralytics' (yolov3-tiny.yaml, yolov5n.yaml, yolov8n.yaml)"
    )


def check_form(architecture: Any, source: str) -> None:
    """Refuse what is no architecture, whatever its layers are: of another form, or with numbers that none has."""
    if not isinstance(architecture, dict) or not {"backbone", "head"} <= architecture.keys():
        raise ConfigError(f"{source}: expected a mapping with backbone and head")
    if _is_boundless(architecture):
        raise ConfigError(
            f"{source}: too large, or a list lies within itself; "
            f"expected a model of at most {LARGEST['values']} values in {LARGEST['levels']} levels"
        )
    if problem := _scale_problem(architecture.get("scales", {}), architecture.get("scale")):
        raise ConfigError(f"{source}: {problem}")
    for key in ("nc", "reg_max", "depth_multiple", "width_multiple"):
        value, most = architecture.get(key, 1), LARGEST[key]
        if not _is_number(value) or not 0 < value <= most:
            raise ConfigError(f"{source}: {key} must be a positive number, at most {most}, got {shown(value)}")
    if not all(isinstance(architecture[part], list) and architecture[part] for part in ("backbone", "head")):
        raise ConfigError(f"{source}: backbone and head must be lists of layers")


def check_architecture(architecture: Any, source: str) -> None:
    """Refuse an architecture that names anything outside the whitelist, before ultralytics sees it."""
    check_form(architecture, source)
    if unknown := sorted(map(str, architecture.keys() - _ALLOWED_KEYS)):
        known = ", ".join(sorted(_ALLOWED_KEYS))
        raise ConfigError(f"{source}: unknown key {shown(unknown[0])}; known keys are {known}")
    activation = architecture.get("activation")
    if not isinstance(activation, str) or not ALLOWED_ACTIVATION.fullmatch(activation):
        raise ConfigError(
            f"{source}: activation {shown(activation or 'SiLU (none is named)')} cannot spike; write activation: "
            "torch.nn.ReLU() or torch.nn.LeakyReLU(0.1) into it, or train with --activation clip or leaky"
        )
    rows = [*architecture["backbone"], *architecture["head"]]
    for index, row in enumerate(rows):
        if problem := layer_problem(row, index):
            raise ConfigError(f"{source}: layer {index} {problem}")
    if (blocks := _blocks(architecture, rows)) > LARGEST["blocks"]:
        raise ConfigError(f"{source}: has {blocks} blocks, repeats counted; expected at most {LARGEST['blocks']}")
    if rows[-1][2] not in HEADS or any(row[2] in HEADS for row in rows[:-1]):
        raise ConfigError(f"{source}: the last layer, and only it, must be one of {', '.join(HEADS)}")


def _blocks(architecture: dict[str, Any], rows: list[Any]) -> int:
    """How many blocks a model has, with all repeats that its rows and its depth ask for."""
    scales, depth = architecture.get("scales"), architecture.get("depth_multiple", 1)
    depth = scales[architecture.get("scale") or next(iter(scales))][0] if scales else depth
    inner = [row[3][3] if row[2] == "RepNCSPELAN4" and len(row[3]) > 3 and _is_number(row[3][3]) else 1 for row in rows]
    return sum(math.ceil(max(row[1] * depth, 1)) * max(int(n), 1) for row, n in zip(rows, inner, strict=True))


def _is_boundless(architecture: Any) -> bool:
    """Whether a value holds more than any model, or is nested deeper, as one within itself is."""
    todo, seen = [(architecture, 1)], 0
    while todo:
        value, level = todo.pop()
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        if not isinstance(inner, (list, tuple, set)):
            continue
        seen += len(inner)
        if seen > LARGEST["values"] or level > LARGEST["levels"]:
            return True
        todo += [(item, level + 1) for item in inner]
    return False


def _scale_problem(scales: Any, scale: Any) -> str | None:
    """What is wrong with the scales of a model family, if anything."""
    if not isinstance(scales, dict) or not all(
        isinstance(name, str)
        and isinstance(numbers, list)
        and len(numbers) == 3
        and all(_is_number(x) and 0 < x <= 10_000 for x in numbers)
        for name, numbers in scales.items()
    ):
        return f"scales must give three numbers (depth, width, largest width) for each letter, got {shown(scales)}"
    if scale is not None and not (isinstance(scale, str) and scale in scales):
        return f"there is no scale {shown(scale)}; expected one of {', '.join(scales) or 'none'}"
    return None


def layer_problem(row: Any, index: int) -> str | None:
    """What is wrong with one row of an architecture, if anything."""
    if not (isinstance(row, list) and len(row) == 4 and isinstance(row[3], list)):
        return f"must be [from, repeats, module, [args]], got {shown(row)}"
    origins, repeats, module, arguments = row
    if not isinstance(module, str) or module not in ALLOWED_MODULES:
        return f"uses {shown(module)}, which is not supported; use one of {', '.join(sorted(ALLOWED_MODULES))}"
    listed = origins if isinstance(origins, list) and origins else [origins]
    strange = [o for o in listed if not (type(o) is int and -max(index, 1) <= o < index)]
    if strange:
        return f"reads from {shown(strange[0])}; expected earlier layers by index, or -1"
    if not isinstance(repeats, int) or isinstance(repeats, bool) or not 1 <= repeats <= LARGEST["repeats"]:
        return f"is repeated {shown(repeats)} times; expected a whole number, at most {LARGEST['repeats']}"
    if isinstance(origins, list) != (module in READ_LISTS):
        return f"reads from {shown(origins)}; only {', '.join(READ_LISTS)} read from a list of layers"
    flat = list(arguments)
    while flat:
        argument = flat.pop()
        if isinstance(argument, list):
            flat.extend(argument)
        elif isinstance(argument, dict) or (isinstance(argument, str) and argument not in _ALLOWED_WORDS):
            return f"has the argument {shown(argument)}, which is not allowed"
        elif _is_number(argument) and not 0 <= argument <= LARGEST["channels"]:
            return f"has the argument {shown(argument)}; expected numbers from 0 to {LARGEST['channels']}"
    sizes = [value for value in arguments[1:] if _is_number(value)] if module.endswith(("Conv", "Upsample")) else []
    large = [x for x in [*sizes[:3], *sizes[4:]] if x > LARGEST["kernel"]]  # the fourth is the number of groups
    if large:
        return f"has the argument {large[0]}; expected kernels, strides and factors up to {LARGEST['kernel']}"
    if module == "RepNCSPELAN4" and any(_is_number(n) and n > LARGEST["repeats"] for n in arguments[3:4]):
        return f"has the argument {arguments[3]}; expected at most {LARGEST['repeats']} repeats, the fourth argument"
    return None


def _is_number(value: Any) -> bool:
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))

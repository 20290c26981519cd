"""Detectors built through ultralytics from a checked YAML, with clip activations in place of ReLU.

This package is the only importer of ultralytics' model code. A YAML is checked against a whitelist before anything
in it reaches ultralytics, which passes ``activation:`` to eval and looks modules up by name.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

from spikedet.errors import ConfigError
from spikedet.quantization import ClippedReLU, QCActivation
from spikedet.resources import resource_folder

ALLOWED_MODULES = frozenset({"Conv", "Bottleneck", "nn.Upsample", "nn.AvgPool2d", "Concat", "Detect"})
ALLOWED_ACTIVATION = re.compile(r"(torch\.)?nn\.(ReLU\(\)|LeakyReLU\((0?\.\d{1,6})?\))")
_ALLOWED_WORDS = frozenset({"nc", "nearest", "None"})
_ALLOWED_KEYS = frozenset({"nc", "activation", "depth_multiple", "width_multiple", "reg_max", "backbone", "head"})


class ClipDetector(DetectionModel):
    """An ultralytics detection model whose training forward may run in bfloat16; the loss stays float32.

    Attributes:
        autocast: run the training forward in bfloat16.
        distill: more loss for a batch, from its pictures and the head's raw maps.
    """

    autocast: bool = False
    distill: Callable[[Tensor, dict[str, Tensor]], Tensor] | None = None

    def loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        """The ultralytics criterion on ``batch``; a forward under autocast first when ``preds`` is None."""
        if preds is None:
            with torch.autocast(batch["img"].device.type, torch.bfloat16, enabled=self.autocast):
                preds = self(batch["img"])
            preds = to_float32(preds)
        loss, items = super().loss(batch, preds)
        if self.distill is not None:
            more = self.distill(batch["img"], preds)
            loss = torch.cat([loss, more.view(1) * len(batch["img"])])  # the criterion's are sums over pictures too
            items = {**items, "distill_loss": more.detach()}
        return loss, items


def to_float32(value: Any) -> Any:
    """Every tensor in nested mappings and sequences as float32."""
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: to_float32(item) for key, item in value.items()}
    return type(value)(to_float32(item) for item in value) if isinstance(value, (list, tuple)) else value


def load_model_yaml(model: str) -> dict[str, Any]:
    """The architecture of ``configs/models/MODEL.yaml`` or of a YAML file by path, checked.

    Raises:
        ConfigError: no such model, malformed YAML, or something outside the whitelist.
    """
    path = Path(model) if model.endswith((".yaml", ".yml")) else resource_folder("configs") / "models" / f"{model}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in (resource_folder("configs") / "models").glob("*.yaml"))
        raise ConfigError(f"model {model!r} not found; expected one of {', '.join(known)} or the path of a model YAML")
    try:
        architecture = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a valid YAML file ({error})") from error
    check_architecture(architecture, str(path))
    return dict(architecture)


def check_architecture(architecture: Any, source: str) -> None:
    """Refuse an architecture that names anything outside the whitelist, before ultralytics sees it."""
    if not isinstance(architecture, dict) or not {"backbone", "head"} <= architecture.keys():
        raise ConfigError(f"{source}: expected a mapping with backbone and head")
    if unknown := sorted(map(str, architecture.keys() - _ALLOWED_KEYS)):
        raise ConfigError(f"{source}: unknown key {unknown[0]!r}; known keys are {', '.join(sorted(_ALLOWED_KEYS))}")
    activation = architecture.get("activation")
    if not isinstance(activation, str) or not ALLOWED_ACTIVATION.fullmatch(activation):
        raise ConfigError(
            f"{source}: activation {activation!r} cannot spike; write activation: torch.nn.ReLU() or "
            "torch.nn.LeakyReLU(0.1)"
        )
    for key in ("nc", "reg_max", "depth_multiple", "width_multiple"):
        value = architecture.get(key, 1)
        if not _is_number(value) or value <= 0:
            raise ConfigError(f"{source}: {key} must be a positive number, got {value!r}")
    if not all(isinstance(architecture[part], list) and architecture[part] for part in ("backbone", "head")):
        raise ConfigError(f"{source}: backbone and head must be lists of layers")
    rows = [*architecture["backbone"], *architecture["head"]]
    for index, row in enumerate(rows):
        if problem := _row_problem(row, index):
            raise ConfigError(f"{source}: layer {index} {problem}")
    if rows[-1][2] != "Detect" or any(row[2] == "Detect" for row in rows[:-1]):
        raise ConfigError(f"{source}: the last layer, and only it, must be Detect")


def _row_problem(row: Any, index: int) -> str | None:
    """What is wrong with one row of an architecture, if anything."""
    if not (isinstance(row, list) and len(row) == 4 and isinstance(row[3], list)):
        return f"must be [from, repeats, module, [args]], got {row!r}"
    origins, repeats, module, arguments = row
    if not isinstance(module, str) or module not in ALLOWED_MODULES:
        return f"uses {module!r}, which is not supported; use one of {', '.join(sorted(ALLOWED_MODULES))}"
    listed = origins if isinstance(origins, list) and origins else [origins]
    if not all(isinstance(o, int) and not isinstance(o, bool) and -max(index, 1) <= o < index for o in listed):
        return f"reads from {origins!r}; expected earlier layers by index, or -1"
    if not isinstance(repeats, int) or repeats < 1:
        return f"is repeated {repeats!r} times; expected a whole number"
    if isinstance(origins, list) != (module in ("Concat", "Detect")):
        return f"reads from {origins!r}; only Concat and Detect read from a list of layers"
    flat = list(arguments)
    while flat:
        argument = flat.pop()
        if isinstance(argument, list):
            flat.extend(argument)
        elif isinstance(argument, dict) or (isinstance(argument, str) and argument not in _ALLOWED_WORDS):
            return f"has the argument {argument!r}, which is not allowed"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def build_detector(
    architecture: dict[str, Any], class_names: Sequence[str], *, theta: float = 4.0, theta_per: str = "channel"
) -> ClipDetector:
    """A source ANN: every activation its own ``ClippedReLU`` (ultralytics shares one object for the whole model).

    Args:
        architecture: checked by ``check_architecture``.
        class_names: in label order.
        theta: initial threshold.
        theta_per: ``"channel"`` or ``"layer"``.
    """
    check_architecture(architecture, "model")
    try:
        model = ClipDetector({"nc": 1, **copy.deepcopy(architecture)}, ch=3, nc=len(class_names), verbose=False)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise ConfigError(
            f"the model cannot be built from its YAML ({error}); check channels and layer indices"
        ) from error
    model.names = dict(enumerate(class_names))

    def clip(old: nn.Module, channels: int) -> nn.Module:
        slope = old.negative_slope if isinstance(old, nn.LeakyReLU) else 0.0
        return ClippedReLU(channels if theta_per == "channel" else 1, theta, slope)

    replace_activations_(model, (nn.ReLU, nn.LeakyReLU), clip)
    return model


def replace_activations_(
    model: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], make: Callable[[Any, int], nn.Module]
) -> None:
    """Replace in place the activation of every ultralytics Conv whose type is ``kind`` by ``make(old, channels)``."""
    for module in model.modules():
        activation = getattr(module, "act", None)
        if isinstance(activation, kind):
            convolution = module.conv
            assert isinstance(convolution, nn.Conv2d)
            module.act = make(activation, convolution.out_channels)


def activations(model: nn.Module) -> Iterator[tuple[str, ClippedReLU]]:
    """Qualified name and module of every clip or QC activation, in definition order."""
    for name, module in model.named_modules():
        if isinstance(module, ClippedReLU):
            yield name, module


def as_qc(model: ClipDetector, T: int, noise: float = 0.0) -> ClipDetector:
    """A copy with QC activations at T levels, same weights and thetas."""
    made = copy.deepcopy(model)
    replace_activations_(made, ClippedReLU, lambda old, _: QCActivation.from_clip(old, T=T, noise=noise))
    return made


def as_clip(model: ClipDetector) -> ClipDetector:
    """A copy with plain clip activations: the clip ANN with Stage I's weights."""
    made = copy.deepcopy(model)
    replace_activations_(made, QCActivation, lambda old, _: old.copied())
    return made

"""What the settings may be: names of choices, ranges, and the checks that every configuration makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from spikedet.common.errors import ConfigError

Stage = Literal["ann", "qc", "copied", "coarse", "fine", "joint"]
SPIKING_STAGES = ("copied", "coarse", "fine", "joint")
Neuron = Literal["if", "signed", "asymmetric"]
Precision = Literal["auto", "bf16", "fp32"]
Mode = Literal["exact", "fast"]
BackendName = Literal["auto", "native", "torch"]
ThetaScope = Literal["channel", "layer"]
Method = Literal["two-stage", "channel-norm"]
Activation = Literal["", "clip", "leaky"]
MaxPoolRule = Literal["count", "gate", "or"]
Linear = Literal["spiking", "analog"]
Pool = Literal["max", "average"]
DownloadName = Literal["voc"]
LayoutName = Literal["voc", "yolo", "coco"]
SourceLayout = Literal["voc", "yolo", "coco", "labelme", "csv"]
VideoFormat = Literal["mp4", "webm", "gif"]


def flag_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check(ok: bool, name: str, expected: str, value: Any) -> None:
    if not ok:
        raise ConfigError(f"{flag_name(name)} must be {expected}, got {value!r}")


LIMITS = {"image_size": (1, 8192), "T": (1, 32767), "delay": (0, 1000), "seed": (0, 2**63)}
"""Least and most; a checkpoint beyond them is damaged rather than ambitious. Spikes are counted in 16 bits."""


class Checked:
    """Range checks shared by the stage configurations, by field name.

    ``basic`` names the settings that most people need, which ``--help`` shows; none shows all.
    ``needs`` names, by a switch, the settings that do nothing without it: they keep their defaults then.
    """

    basic: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            name, value = item.name, getattr(self, item.name)
            if name in _POSITIVE and value is not None:
                check(value > 0, name, "positive", value)
            elif name in _NOT_NEGATIVE and value is not None:
                check(value >= 0, name, "zero or more", value)
            elif name in _FRACTIONS:
                check(0 <= value <= 1, name, "between 0 and 1", value)
            elif name in _CHOICES:
                check(value in get_args(_CHOICES[name]), name, f"one of {get_args(_CHOICES[name])}", value)
            elif name == "image_size":
                check(value >= 32 and value % 32 == 0, name, "a multiple of 32", value)
            if name in LIMITS and value is not None:
                check(value <= LIMITS[name][1], name, f"at most {LIMITS[name][1]}", value)
            elif name in _RANGES:
                least, most = _RANGES[name]
                check(least <= value <= most, name, f"between {least} and {most}", value)
        defaults = {item.name: item.default for item in fields(self)}  # type: ignore[arg-type]
        for switch, names in self.needs.items():
            for name in names:
                if not getattr(self, switch) and getattr(self, name) != defaults[name]:
                    raise ConfigError(f"{flag_name(name)} has no effect without {flag_name(switch)}")


_POSITIVE = frozenset(
    {
        "epochs",
        "finetune_epochs",
        "joint_epochs",
        "batch",
        "lr",
        "theta",
        "T",
        "images",
        "crop",
        "draws",
        "memory_budget_gb",
        "validate_every",
        "train",
        "val",
        "test",
        "every",
    }
)
_NOT_NEGATIVE = frozenset(
    {"warmup_epochs", "close_mosaic", "weight_decay", "theta_lr_factor", "delay", "patience", "limit", "theta_images"}
    | {"theta_levels"}
    | {"distill", "sparsity", "early"}
    | {"workers", "seed", "chunk", "stable_steps", "examples", "rank_images", "frames"}
)
_RANGES = {"side": (64, 1024), "port": (1, 65535)}
_FRACTIONS = frozenset(["held_out", "noise", "mosaic", "mixup", "confidence", "iou", "lr_final"])
_CHOICES: dict[str, Any] = {
    "neuron": Neuron,
    "precision": Precision,
    "theta_per": ThetaScope,
    "method": Method,
    "max_pool": MaxPoolRule,
    "linear": Linear,
    "activation": Activation,
    "pool": Pool,
    "name": DownloadName,
    "to": LayoutName,
    "layout": Literal["", SourceLayout],
    "mode": Mode,
    "backend": BackendName,
    "video_format": VideoFormat,
}

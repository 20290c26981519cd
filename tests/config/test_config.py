"""Settings: every one documented, every range checked, every error by the flag's name."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

from spikedet import config
from spikedet.checkpoint import CheckpointMeta
from spikedet.common.errors import ConfigError
from spikedet.common.resources import find_weights
from spikedet.config import (
    ConvertConfig,
    DemoConfig,
    DetectConfig,
    EvaluateConfig,
    FinetuneConfig,
    TrainConfig,
    parse_time_steps,
)
from spikedet.config.checks import Checked
from spikedet.config.detection import DEFAULT_FAMILY, DEFAULT_WEBCAM
from spikedet.detections import Detections

CONFIGS = [
    value
    for value in vars(config).values()
    if inspect.isclass(value) and issubclass(value, Checked) and value is not Checked
]


def required(kind: type) -> dict[str, Any]:
    """Values for the fields without a default."""
    missing = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    special = {"checkpoints": ("a.safetensors",), "to": "voc"}
    return {name: special.get(name, "a.safetensors") for name in missing}


def documented(kind: type) -> set[str]:
    """Names under ``Attributes:`` in a class's own docstring."""
    section = re.search(r"Attributes:\n(.*?)(?:\n\s*\n|\Z)", inspect.cleandoc(kind.__doc__ or ""), re.DOTALL)
    return set(re.findall(r"^ {4}(\w+):", section.group(1), re.MULTILINE)) if section else set()


@pytest.mark.parametrize("kind", [*CONFIGS, CheckpointMeta, Detections], ids=lambda kind: kind.__name__)
def test_every_field_is_documented_once(kind: type) -> None:
    """Where it is declared; a class that only sets another default need not say it again."""
    names = {field.name for field in dataclasses.fields(kind)}  # class variables are no settings
    declared, own = names & set(vars(kind)["__annotations__"]), documented(kind)
    inherited = set().union(*(documented(base) for base in kind.__mro__[1:]))
    assert own <= declared
    assert declared - own <= inherited


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_defaults_are_valid_and_frozen(kind: type) -> None:
    made = kind(**required(kind))
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, getattr(made, name))


def numeric() -> list[Any]:
    """Every field of every stage whose default is a number."""
    found = []
    for kind in CONFIGS:
        for item in dataclasses.fields(kind):
            if isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
                found.append(pytest.param(kind, item.name, id=f"{kind.__name__}.{item.name}"))
    return found


@pytest.mark.parametrize(("kind", "name"), numeric())
def test_no_number_may_be_negative(kind: Any, name: str) -> None:
    shown = name if name in kind.file_only.split() else f"--{name.replace('_', '-')}"
    with pytest.raises(ConfigError, match=f"^{shown} must be"):
        kind(**{**required(kind), name: -1})


@pytest.mark.parametrize("kind", [FinetuneConfig, ConvertConfig])
def test_a_finetuning_T_of_none_steps_is_refused(kind: type) -> None:
    with pytest.raises(ConfigError, match="--T must be between 1 and 32767, got 0"):
        kind(**required(kind), T=0)


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        (TrainConfig, "epochs", 0, "--epochs must be positive, got 0"),
        (TrainConfig, "lr", 0.0, "--lr must be positive, got 0.0"),
        (TrainConfig, "lr", float("nan"), "--lr must be positive, got nan"),
        (TrainConfig, "weight_decay", -0.1, "weight_decay must be zero or more, got -0.1"),
        (TrainConfig, "held_out", 1.5, "--held-out must be between 0 and 1, got 1.5"),
        (TrainConfig, "image_size", 100, "--image-size must be a multiple of 32 between 32 and 8192, got 100"),
        (TrainConfig, "image_size", 0, "--image-size must be a multiple of 32 between 32 and 8192, got 0"),
        (TrainConfig, "image_size", 8224, "--image-size must be a multiple of 32 between 32 and 8192, got 8224"),
        (FinetuneConfig, "T", 40000, "--T must be between 1 and 32767, got 40000"),
        (ConvertConfig, "delay", 2000, "--delay must be between 0 and 1000, got 2000"),
        (TrainConfig, "precision", "fp16", r"--precision must be one of \('auto', 'bf16', 'fp32'\), got 'fp16'"),
        (FinetuneConfig, "noise", 1.01, "--noise must be between 0 and 1, got 1.01"),
        (
            ConvertConfig,
            "neuron",
            "lif",
            r"--neuron must be one of \('if', .*'clif'\), got 'lif'",
        ),
        (ConvertConfig, "delay", -1, "--delay must be between 0 and 1000, got -1"),
        (EvaluateConfig, "chunk", -1, "chunk must be zero or more, got -1"),
        (DetectConfig, "iou", 2, "iou must be between 0 and 1, got 2"),
    ],
)
def test_a_range_error_names_the_flag_and_the_value(kind: type, name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        kind(**{**required(kind), name: value})


@pytest.mark.parametrize("value", [0, 1, 0.5])
def test_the_ends_of_a_range_belong_to_it(value: float) -> None:
    assert TrainConfig(mosaic=value).mosaic == value
    assert EvaluateConfig(checkpoints=("a",), limit=0).limit == 0
    assert ConvertConfig(checkpoint="a", T=1, delay=0).T == 1


def test_a_converted_network_takes_the_T_of_its_qc_network_by_default() -> None:
    assert ConvertConfig(checkpoint="a").T is None


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", ()),
        (" ", ()),
        ("4", (4,)),
        ("4,8,20", (4, 8, 20)),
        ("20, 4 ,8", (4, 8, 20)),
        ("4,4,,8,", (4, 8)),
    ],
)
def test_time_steps(text: str, steps: tuple[int, ...]) -> None:
    assert parse_time_steps(text) == steps


@pytest.mark.parametrize("text", ["a", "4.5", "4;8", "4 8"])
def test_time_steps_are_whole_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match=f"time steps must be whole numbers separated by commas, got '{text}'"):
        parse_time_steps(text)


@pytest.mark.parametrize(("text", "least"), [("0", 0), ("4,-2", -2)])
def test_time_steps_begin_at_one(text: str, least: int) -> None:
    with pytest.raises(ConfigError, match=f"time steps must be at least 1, got {least}"):
        parse_time_steps(text)


def test_the_network_that_looks_at_a_camera() -> None:
    assert DemoConfig().live == DEFAULT_WEBCAM
    assert DemoConfig(weights="a,b").live == "b"
    assert DemoConfig(weights="a,b", webcam_weights="c").live == "c"


def test_the_weights_named_by_default_ship() -> None:
    for name in [*DEFAULT_FAMILY.split(","), DEFAULT_WEBCAM]:
        assert find_weights(name).is_file()

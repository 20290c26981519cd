"""One file for each command, of the same name: load, compute, write. Each is also a function in Python.

from spikedet import TrainConfig, convert, train

source = train(data="mydata", epochs=150, out="runs/mydata")     # settings as keywords
source = train(TrainConfig(data="mydata", out="runs/mydata"))    # or as a configuration
written = convert(source, T=8, finetune=True)                    # what the command takes without a flag comes first
rows = evaluate(SpikingDetector(network, meta), data=dataset)    # objects in place of paths
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Number
from os import PathLike
from pathlib import Path
from typing import Any

from spikedet.cli.preparation import output_folder, prepared
from spikedet.common.errors import ConfigError
from spikedet.common.files import held
from spikedet.common.objects import known_by_name


@dataclass(frozen=True)
class Command:
    """A command: the configuration it takes, and its argument without a flag.

    Its function is ``spikedet.commands.NAME.NAME``. One that is ``shared`` may run in several processes under torchrun.
    One that is ``alone`` writes files that belong together, so that no other run may write to its output folder.
    """

    config: str
    summary: str
    positional: str | None = None
    shared: bool = False
    alone: bool = True


COMMANDS = {
    "train": Command("TrainConfig", "train a source ANN with clip activations", shared=True),
    "finetune": Command("FinetuneConfig", "Stage I: QC fine-tuning", "checkpoint", shared=True),
    "convert": Command("ConvertConfig", "ANN to SNN; --finetune and --calibrate for the rest", "checkpoint"),
    "calibrate": Command("CalibrateConfig", "Stage II: calibration", "checkpoint", shared=True),
    "joint": Command("JointConfig", "joint calibration, all layers at once", "checkpoint", shared=True),
    "evaluate": Command("EvaluateConfig", "AP by time step", "checkpoints", shared=True),
    "energy": Command("EnergyConfig", "operations counted, and energy", "checkpoints"),
    "detect": Command("DetectConfig", "boxes on images, videos and cameras", "source"),
    "grow": Command("GrowConfig", "a strip and an animation of boxes growing with t", "source"),
    "explain": Command("ExplainConfig", "the error of a converted network by layer", "checkpoint"),
    "export": Command("ExportConfig", "ONNX, OpenVINO and other engines, checked against the network", "checkpoint"),
    "report": Command("ReportConfig", "one HTML file about an evaluation", "run"),
    "demo": Command("DemoConfig", "a web page: images, video and webcam, growing with t; or a window", alone=False),
    "publish": Command("PublishConfig", "float16 weights and a model card, to give away", "checkpoint"),
    "data check": Command("DataCheckConfig", "find broken files, count objects", "data"),
    "data convert": Command("DataConvertConfig", "write a dataset in VOC, YOLO or COCO layout", "data", alone=False),
    "data download": Command("DownloadConfig", "fetch PASCAL VOC", "name"),
    "quickstart": Command("QuickstartConfig", "every stage on the synthetic set"),
}


def implementation(name: str) -> Callable[[Any], Any]:
    """The function of a command, which takes its configuration."""
    function = name.replace(" ", "_")
    found: Callable[[Any], Any] = getattr(importlib.import_module(f"spikedet.commands.{function}"), function)
    return found


def perform(name: str, config: Any) -> Any:
    """Run a command with a configuration that is prepared, alone in its output folder.

    Raises:
        SpikedetError: a checkpoint is missing, or another run writes to the folder.
    """
    processes = importlib.import_module("spikedet.common.distributed")  # torch is slow to import: not for --help
    folder = output_folder(config) if COMMANDS[name].alone and processes.is_first() else None
    if folder:
        _require_checkpoints(config)
    with held(folder) if folder else nullcontext():
        return implementation(name)(config)


def _require_checkpoints(config: Any) -> None:
    """Raise CheckpointError where one that the command begins with is missing."""
    from spikedet.checkpoint.metadata import require_there

    if hasattr(config, "checkpoint"):
        require_there(Path(config.checkpoint))
    for path in getattr(config, "checkpoints", ()):
        require_there(Path(path), or_folder=True)


def python_function(name: str) -> Callable[..., Any]:
    """A command as a function of its configuration, of keyword arguments, or of both.

    Paths may be ``Path`` objects, and several values a list: ``t=[2, 4, 8]`` is ``t="2,4,8"``. The names of shipped
    weights represent their files. ``data`` may be a ``DetectionDataset``, whose split is then the split; the networks
    of ``evaluate``, ``energy`` and ``detect`` may be a ``SpikingDetector`` or what ``load_network`` gives.

    Raises:
        ConfigError: an argument that the command does not have, or a value outside its range.
    """
    command = COMMANDS[name]
    kind = getattr(importlib.import_module("spikedet.config"), command.config)

    @functools.wraps(implementation(name))
    def call(given: Any = None, /, **settings: Any) -> Any:
        config = given if isinstance(given, kind) else None
        if given is not None and config is None:
            if command.positional is None:
                raise ConfigError(f"{name} takes a {command.config} or keyword arguments, got {given!r}")
            settings = {command.positional: given, **settings}
        named, objects = _named(name, settings)
        with known_by_name(objects):
            return perform(name, prepared(_config(kind, config, named)))

    return call


_NETWORKS = {"evaluate": "checkpoints", "energy": "checkpoints", "export": "checkpoint", "detect": "weights"}
"""By command, the setting that may be a network in memory."""


def _named(name: str, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings with names in place of the dataset and of networks, and these objects by name."""
    from spikedet.data import DetectionDataset
    from spikedet.inference.detector import SpikingDetector
    from spikedet.inference.network import Network

    objects: dict[str, Any] = {}

    def label(value: Any) -> Any:
        """The name of a network; anything else as it is."""
        if isinstance(value, (list, tuple)):
            return [label(item) for item in value]
        network = value.network if isinstance(value, SpikingDetector) else value
        if not isinstance(network, Network):
            return value
        found = f"memory:{network.meta.model}-{network.meta.stage}-{len(objects)}"
        objects[found] = network
        return found

    setting = _NETWORKS.get(name)
    if setting in settings:
        settings = {**settings, setting: label(settings[setting])}
    dataset = settings.get("data")
    if isinstance(dataset, DetectionDataset) and not name.startswith("data "):
        objects[dataset.name] = dataset
        settings = {"split": dataset.split, **settings, "data": dataset.name}
    return settings, objects


def _config(kind: Any, start: Any, settings: dict[str, Any]) -> Any:
    """A configuration from keyword arguments; ``start`` has the values that are not among them."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(settings.keys() - fields.keys()):
        raise ConfigError(f"{kind.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(fields))}")
    values = {name: _value(name, value, str(fields[name].type)) for name, value in settings.items()}
    if start is not None:
        return dataclasses.replace(start, **values)
    needed = {name for name, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - values.keys()):
        raise ConfigError(f"{kind.__name__} needs {missing[0]!r}")
    return kind(**values)


def _value(name: str, value: Any, type_name: str) -> Any:
    """A Python value as a setting holds it. Raises ConfigError for an object where there has to be a path or a text."""
    values = value if isinstance(value, (list, tuple, range)) else (value,)
    for one in values if type_name.startswith(("tuple", "str")) else ():
        if not isinstance(one, (str, PathLike, Number)):
            raise ConfigError(f"{name}: expected a path or a text, got a {type(one).__name__}; {_TAKEN}")
    if type_name.startswith("tuple"):
        return tuple(map(str, values))
    if isinstance(value, (list, tuple, range)):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, PathLike) else value


_TAKEN = f"datasets are taken as data, SpikingDetector and the networks of load_network by {', '.join(_NETWORKS)}"

"""What the YAML of an experiment says: sources, their Stage I runs, and the networks made from them."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spikedet.common.errors import ConfigError
from spikedet.config import SPIKING_STAGES, MaxPoolRule, Method, Neuron

SOURCE = "source"


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """One spiking network.

    Attributes:
        stage1: name of the Stage I it is made from, or of a source that had none; either may be of another training
            method (sfa), whose T counts sub-steps.
        T, method, neuron, delay, latency, max_pool: as in ``ConvertConfig``.
        calibrated: also Stage II.
        calibrate: settings of Stage II that differ from the experiment's.
        joint: also the joint calibration, with the settings that differ from the experiment's; null leaves it out.
        seed: of conversion and Stage II.
        t: time steps to read out; empty is T.
        limit: evaluate only the first images of the split; 0 is as many as the experiment's.
    """

    stage1: str
    T: int
    method: Method = "two-stage"
    neuron: Neuron = "if"
    delay: int = 0
    latency: int = 0
    max_pool: MaxPoolRule = "count"
    calibrated: bool = True
    calibrate: dict[str, Any] = field(default_factory=dict)
    joint: dict[str, Any] | None = None
    seed: int = 0
    t: str = ""
    limit: int = 0

    @property
    def converted(self) -> str:
        """Name of the folder of the network with copied weights."""
        parts = [self.stage1, self.neuron, f"T{self.T}", f"delay{self.delay}"]
        parts += [f"latency{self.latency}"] if self.latency else []
        parts += [self.method] if self.method != "two-stage" else []
        parts += [self.max_pool] if self.max_pool != "count" else []
        return "-".join([*parts, *([f"seed{self.seed}"] if self.seed else [])])

    @property
    def layerwise(self) -> str:
        """Name of the folder of the network after Stage II; calibrations that differ share their copied weights."""
        return "-".join([self.converted, *_settings(self.calibrate)])

    @property
    def folder(self) -> str:
        """Name of its own folder; joint calibrations that differ share the network that they start from."""
        if self.joint is None:
            return self.layerwise
        start = self.layerwise if self.calibrated else f"{self.converted}-copied"
        return "-".join([start, "joint", *_settings(self.joint)])


def _settings(values: dict[str, Any]) -> list[str]:
    return [f"{key}-{value}" for key, value in sorted(values.items())]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A whole experiment; ``train``, ``finetune``, ``calibrate``, ``joint``: settings of the stages' configurations.

    Attributes:
        name: of the published files.
        split: that is evaluated.
        limit: evaluate only the first images; 0 is all of them.
        train: the sources.
        sources: what sets each of them apart, by name; one that is called ``source`` unless they are named.
        finetune: Stage I runs, or those of another ``method``, by name; ``source`` names the source that a run starts
            from, ``after`` another run.
        calibrate: Stage II.
        joint: the joint calibration after it.
        networks: what is evaluated.
        stages: of the networks, those that are evaluated.
        plot: which image shows it, a key of ``PLOTS`` in accuracy.py.
        paper: rows of the paper's table, printed beside ours.
    """

    name: str
    split: str
    train: dict[str, Any]
    finetune: dict[str, dict[str, Any]]
    calibrate: dict[str, Any]
    networks: tuple[NetworkSettings, ...]
    sources: dict[str, dict[str, Any]] = field(default_factory=lambda: {SOURCE: {}})
    joint: dict[str, Any] = field(default_factory=dict)
    stages: tuple[str, ...] = SPIKING_STAGES
    limit: int = 0
    plot: str = "t"
    paper: tuple[dict[str, Any], ...] = ()


def trained(experiment: Experiment, name: str) -> str:
    """Name of the file that a source or a Stage I run leaves in its folder, by its training method."""
    source = name in experiment.sources
    settings = {**experiment.train, **experiment.sources[name]} if source else experiment.finetune[name]
    method = settings.get("method", "conversion")
    stage = ("ann" if source else "qc") if method == "conversion" else method
    return f"{stage}.safetensors"


def training_seconds(log: Path) -> float:
    """Of all epochs of a training's log; its clock begins anew where a training was resumed."""
    with log.open(encoding="utf-8") as file:
        clock = [float(row["time"]) for row in csv.DictReader(file)]
    return sum(now - (before if now > before else 0.0) for before, now in zip([0.0, *clock], clock, strict=False))


def load_experiment(path: Path) -> Experiment:
    """Read and check a YAML file. ``base`` names a file beside it whose settings hold where this one says nothing.

    Raises:
        ConfigError: naming the file, for an unknown or missing key.
    """
    values = _values(path)
    networks = []
    for number, settings in enumerate(values.pop("networks", []), 1):
        networks.append(_made(NetworkSettings, settings, f"{path}: network {number}"))
    values["paper"] = tuple(values.get("paper", ()))
    values["stages"] = tuple(values.get("stages", SPIKING_STAGES))
    if unknown := sorted(set(values["stages"]) - set(SPIKING_STAGES)):
        raise ConfigError(f"{path}: no stage {unknown[0]!r}; stages are {', '.join(SPIKING_STAGES)}")
    experiment: Experiment = _made(Experiment, {**values, "networks": tuple(networks)}, str(path))
    limited = (dataclasses.replace(network, limit=network.limit or experiment.limit) for network in networks)
    return dataclasses.replace(experiment, networks=tuple(limited))


def _values(path: Path) -> dict[str, Any]:
    try:
        values = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not an experiment ({error}); see configs/experiments") from error
    base = values.pop("base", None)
    return {**(_values(path.parent / base) if base else {}), **values}


def _made(kind: Any, values: dict[str, Any], where: str) -> Any:
    known = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known keys are {', '.join(sorted(known))}")
    needed = {name for name, f in known.items() if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - values.keys()):
        raise ConfigError(f"{where}: {missing[0]!r} is missing")
    return kind(**values)

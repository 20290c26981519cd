"""What an operation costs: tables of constants, from a YAML file, with their source."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from spikedet.common.errors import ConfigError
from spikedet.common.resources import resource_folder
from spikedet.common.yaml import read_mapping
from spikedet.data.values import shown

MOST_PJ = 1e12
"""A joule; what costs more is a mistake."""


@dataclass(frozen=True, kw_only=True)
class MemoryTraffic:
    """A model of memory traffic: how often a word of memory is read or written; nothing is ever reused.

    Attributes:
        source: where the numbers are from.
        access_pj: energy of one access, picojoules.
        per_mac, per_output: accesses of a dense convolution, for a MAC and for a value it computes.
        per_sop, per_neuron_step, per_spike: accesses of spiking layers.
    """

    source: str
    access_pj: float
    per_mac: float
    per_output: float
    per_sop: float
    per_neuron_step: float
    per_spike: float


@dataclass(frozen=True, kw_only=True)
class EnergyConstants:
    """Energy of operations.

    Attributes:
        name: for tables.
        source: where the numbers are from.
        mac_pj: a multiplication and an addition, picojoules.
        ac_pj: an addition, picojoules.
        memory: model of the memory traffic, if there is one.
    """

    name: str
    source: str
    mac_pj: float
    ac_pj: float
    memory: MemoryTraffic | None = None


Table = TypeVar("Table", MemoryTraffic, EnergyConstants)


def load_constants(name: str, *, memory_traffic: bool = False) -> EnergyConstants:
    """A table by its name under configs/energy, or by the path of a YAML file.

    Args:
        name: of the table.
        memory_traffic: it has to have a model of the memory traffic.

    Raises:
        ConfigError: there is none, or it is not a whole one.
    """
    path = _find(name)
    content = read_mapping(path, ", ".join(field.name for field in dataclasses.fields(EnergyConstants)))
    memory = content.get("memory")
    if memory is not None:
        content = {**content, "memory": _made(MemoryTraffic, memory, f"{path}: memory")}
    elif memory_traffic:
        raise ConfigError(
            f"{path}: it has no model of memory traffic; add memory: to it, or leave out --memory-traffic"
        )
    return _made(EnergyConstants, content, str(path))


def _find(name: str) -> Path:
    folder = resource_folder("configs") / "energy"
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml")))
        raise ConfigError(f"energy constants {name!r} not found; expected one of {known}, or the path of a YAML file")
    return path


def _made(kind: type[Table], content: Any, where: str) -> Table:
    """A dataclass from a mapping with its fields, all of them there and of their kind."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected a mapping with {', '.join(fields)}")
    if unknown := sorted(map(str, content.keys() - fields.keys())):
        raise ConfigError(f"{where}: unknown key {shown(unknown[0])}; known keys are {', '.join(fields)}")
    for name, field in fields.items():
        value: Any = content.get(name)
        if field.type == "float" and (type(value) not in (int, float) or not 0 <= value <= MOST_PJ):
            raise ConfigError(f"{where}: {name} must be a number from 0 to {MOST_PJ:g}, got {shown(value)}")
        if field.type == "str" and (not isinstance(value, str) or not value):
            raise ConfigError(f"{where}: {name} must be a text, got {shown(value)}")
    return kind(**content)

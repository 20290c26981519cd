"""What conversion would do with a model, layer by layer, and which layers cannot spike and what to use instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from spikedet.checkpoint import read_meta
from spikedet.common.errors import ConfigError
from spikedet.common.markdown import aligned
from spikedet.config import Activation, Linear, MaxPoolRule, Neuron
from spikedet.conversion.converter import problems
from spikedet.conversion.graph import GraphBuilder
from spikedet.conversion.rules import INSTEAD, RULES
from spikedet.conversion.storage import load_spiking
from spikedet.models import ClipDetector, build_detector, load_ann
from spikedet.models.architecture import (
    ACTIVATIONS,
    ALLOWED_ACTIVATION,
    check_architecture,
    check_form,
    layer_problem,
    read_model_yaml,
)
from spikedet.models.imported import SUFFIX, read_ultralytics
from spikedet.snn import Node, SpikingConv
from spikedet.snn.layers import Convolution
from spikedet.snn.operations import MaxPool

HEAD = ("layer", "type", "becomes", "theta", "fan-in")
NEURONS = "IF neurons"
ANALOG = "no neurons (linear layer)"


@dataclass(frozen=True)
class LayerEntry:
    """One line of the report.

    Attributes:
        name: qualified name of the layer.
        kind: type of its module.
        rule: what it becomes; for a layer that cannot spike why not, and what to use instead.
        theta: mean and range over channels, empty without neurons or training.
        fan_in: inputs of each neuron or read-out, None without weights.
        supported: whether it can spike.
    """

    name: str
    kind: str
    rule: str
    theta: str = ""
    fan_in: int | None = None
    supported: bool = True

    def cells(self) -> tuple[str, ...]:
        rule = self.rule if self.supported else f"unsupported: {self.rule}"
        return (self.name, self.kind, rule, self.theta or "-", "-" if self.fan_in is None else str(self.fan_in))


def report(
    path: Path,
    *,
    neuron: Neuron = "if",
    delay: int = 0,
    max_pool: MaxPoolRule = "count",
    linear: Linear = "spiking",
    activation: Activation = "",
) -> list[LayerEntry]:
    """Every layer of a model YAML, a spikedet checkpoint or an ultralytics ``.pt`` file, in execution order.

    Args:
        path: the file.
        neuron, delay, max_pool, linear: as in ``to_spiking``.
        activation: in place of the one that a YAML or a ``.pt`` file names.

    Raises:
        CheckpointError, ConfigError: the file cannot be used at all, or is a checkpoint and has its activation.
    """
    graph = GraphBuilder(RULES, INSTEAD, neuron, delay, max_pool, linear)
    if path.suffix in (".yaml", ".yml", SUFFIX):
        return _of_architecture(_architecture(path, activation), str(path), graph)
    if activation:
        raise ConfigError(f"{path}: --activation is for a model YAML or a .pt file; leave it out for a checkpoint")
    if read_meta(path).spiking:
        network, _ = load_spiking(path)
        return [_entry(node, type(node.module).__name__, trained=True) for node in network.nodes]
    model, _ = load_ann(path)
    return _of_model(model, graph, trained=True)


def _of_architecture(architecture: dict[str, Any], source: str, graph: GraphBuilder) -> list[LayerEntry]:
    """A model without weights. One whose activation cannot spike is shown as if it had ReLU, with that said."""
    check_form(architecture, source)
    lines = architecture_entries(architecture)
    if not all(line.supported for line in lines):
        return lines
    named = architecture.get("activation") or "SiLU"
    known = isinstance(named, str) and ALLOWED_ACTIVATION.fullmatch(named)
    architecture = architecture if known else {**architecture, "activation": ACTIVATIONS["clip"]}
    check_architecture(architecture, source)
    model = build_detector(architecture, [str(i) for i in range(int(architecture.get("nc", 80)))])
    lines = _of_model(model, graph, trained=False)
    if known:
        return lines
    reason = f"the activation {named}; train with --activation clip or leaky"
    return [replace(line, rule=reason, supported=False) if NEURONS in line.rule else line for line in lines]


def _of_model(model: ClipDetector, graph: GraphBuilder, *, trained: bool) -> list[LayerEntry]:
    found = problems(model, graph)
    lines = [_entry(node, _kind(model, node), trained) for node in graph.nodes]
    for offset, problem in enumerate(found):
        text = problem.message.removeprefix(problem.name).lstrip(": ")
        lines.insert(problem.position + offset, LayerEntry(problem.name, problem.kind, text, supported=False))
    return lines


def architecture_entries(architecture: dict[str, Any]) -> list[LayerEntry]:
    """The rows of a model YAML of the right form, for one that cannot be built because it names what cannot spike."""
    lines = []
    for index, row in enumerate([*architecture["backbone"], *architecture["head"]]):
        problem = layer_problem(row, index)
        kind = str(row[2]).removeprefix("nn.") if isinstance(row, list) and len(row) > 2 else "?"
        unknown = problem is not None and problem.startswith("uses ")
        text = INSTEAD.get(kind, INSTEAD[""]) if unknown else problem or "a rule exists"
        lines.append(LayerEntry(f"model.{index}", kind, text, supported=problem is None))
    return lines


def as_text(lines: Sequence[LayerEntry]) -> str:
    """A table in columns."""
    return aligned([HEAD, *(line.cells() for line in lines)], len(HEAD))


def _architecture(path: Path, activation: Activation) -> dict[str, Any]:
    if path.suffix != SUFFIX:
        return read_model_yaml(str(path), activation)[0]
    architecture = read_ultralytics(path).architecture
    return architecture | ({"activation": ACTIVATIONS[activation]} if activation else {})


def _entry(node: Node, kind: str, trained: bool) -> LayerEntry:
    module, theta = node.module, ""
    if isinstance(module, SpikingConv) and trained:
        low, mean, high = (float(x) for x in (module.theta.min(), module.theta.mean(), module.theta.max()))
        theta = f"{mean:.3g} [{low:.3g}, {high:.3g}]"
    fan_in = module.weight[0].numel() if isinstance(module, Convolution) else None
    return LayerEntry(node.name, kind, _becomes(module), theta, fan_in)


def _neurons(layer: SpikingConv) -> str:
    if layer.neuron == "clif":
        return f"C-LIF neurons, decays {layer.decays[0]:.3g} and {layer.decays[1]:.3g}, {layer.reset} reset"
    names = {"if": "", "signed": "signed ", "asymmetric": "asymmetric "}
    slope = f", slope {layer.slope:g}" if layer.neuron == "asymmetric" else ""
    slope += " (linear layer)" if layer.linear else ""
    return names[layer.neuron] + NEURONS + slope + (f", delay {layer.delay}" if layer.delay else "")


def _becomes(module: nn.Module) -> str:
    if isinstance(module, SpikingConv):
        return _neurons(module)
    if isinstance(module, MaxPool):
        return f"maximum by {module.rule}"
    kind = type(module).__name__
    words = {"Readout": "mean potential, read out", "LinearConv": ANALOG}
    done = dict(Upsample="repeated", Concat="joined", Add="summed", AvgPool="averaged", Slice="split", ZeroPad="padded")
    return f"{done[kind]}, step by step" if kind in done else words.get(kind, kind)


def _kind(model: ClipDetector, node: Node) -> str:
    """Type of the model's own module of this name; of the node's, where a rule has added it."""
    try:
        return type(model.get_submodule(node.name)).__name__
    except AttributeError:
        return type(node.module).__name__

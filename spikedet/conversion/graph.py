"""The graph of a converted network while it is built: rules add nodes, an activation decides on its neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from spikedet.common.errors import ConversionError
from spikedet.config import Linear, MaxPoolRule, Neuron
from spikedet.quantization import ClippedReLU, Unclipped
from spikedet.snn import CurrentLIF, Node, SpikingConv
from spikedet.snn.layers import pair
from spikedet.snn.operations import LinearConv

Rule = Callable[["GraphBuilder", Any, str, list[str]], str]


@dataclass(frozen=True)
class Problem:
    """A layer that cannot spike.

    Attributes:
        name: its qualified name.
        kind: type of its module.
        message: the whole one, with what to use instead.
        position: number of nodes before it.
    """

    name: str
    kind: str
    message: str
    position: int


@dataclass
class GraphBuilder:
    """Nodes in execution order, and how they are to be made.

    Attributes:
        rules: what is done with a module, by its type.
        instead: what to use instead of a type without a rule.
        neuron: of layers with a clipped ReLU.
        delay: firing delay of every layer.
        max_pool: the rule for maxima.
        linear: whether convolutions without activation spike, or are analog currents.
        nodes: made so far.
        problems: where it is a list, layers that cannot spike are written down there and left out; else they raise.
    """

    rules: Mapping[type[nn.Module], Rule]
    instead: Mapping[str, str]
    neuron: Neuron = "if"
    delay: int = 0
    max_pool: MaxPoolRule = "count"
    linear: Linear = "spiking"
    nodes: list[Node] = field(default_factory=list)
    problems: list[Problem] | None = None

    def add(self, name: str, inputs: list[str], module: nn.Module) -> str:
        """Append a node and return its name."""
        self.nodes.append(Node(name, tuple(inputs), module))
        return name

    def convert(self, module: nn.Module, name: str, inputs: list[str]) -> str:
        """Apply the rule of the module's type.

        Raises:
            ConversionError: no rule; the message names the layer and what to use instead.
        """
        kind = type(module).__name__
        try:
            rule = self.rules.get(type(module))
            if rule is None:
                raise ConversionError(f"{name} ({kind}) cannot spike: {self.instead.get(kind, self.instead[''])}")
            return rule(self, module, name, inputs)
        except ConversionError as error:
            if self.problems is None:
                raise
            self.problems.append(Problem(name, kind, str(error), len(self.nodes)))
            return inputs[0]

    def chain(self, children: Iterable[tuple[str, nn.Module]], name: str, source: str) -> list[str]:
        """``source`` and the output of every child, by its key under ``name``; each child reads what is before it."""
        outputs = [source]
        for key, child in children:
            outputs.append(self.convert(child, f"{name}.{key}", [outputs[-1]]))
        return outputs

    def spiking_layer(
        self, conv: nn.Conv2d, folded: tuple[Tensor, Tensor], act: Any, name: str, inputs: list[str]
    ) -> str:
        """One spiking layer with the geometry of ``conv``, folded weight and bias, and the neurons of ``act``.

        A two-sided clip (slope 1) is a convolution without activation, and may become an analog current.
        """
        if not isinstance(act, ClippedReLU):
            raise ConversionError(
                f"{name} has the activation {type(act).__name__}, which has no neuron: "
                "train with clip activations (spikedet train), then convert"
            )
        check_convolution(conv, name)
        weight, bias = folded
        geometry: dict[str, Any] = {
            "stride": conv.stride,
            "padding": pair(conv.padding),
            "dilation": conv.dilation,
            "groups": conv.groups,
        }
        if act.slope == 1 and (self.linear == "analog" or isinstance(act, CurrentLIF | Unclipped)):
            return self.add(name, inputs, LinearConv(act.worth * weight, act.worth * bias, **geometry))
        theta = act.theta.detach().expand(len(weight)).clone()
        if isinstance(act, CurrentLIF):
            geometry |= {"neuron": "clif", "decays": act.decays, "reset": act.reset_rule}
            return self.add(name, inputs, SpikingConv(weight, bias, theta, **geometry))
        neuron = self._neuron(act, name)
        weight, bias, theta = act.worth * weight, act.worth * bias, act.worth * theta  # the same spikes, worth less
        layer = SpikingConv(weight, bias, theta, **geometry, neuron=neuron, slope=act.slope, delay=self.delay)
        return self.add(name, inputs, layer)

    def _neuron(self, act: ClippedReLU, name: str) -> Neuron:
        """The neuron of an activation: a leaky or two-sided one has the asymmetric, others what was asked for."""
        if self.neuron == "clif":
            raise ConversionError(f"{name} was not trained with C-LIF neurons: train with spikedet train --method clif")
        if act.slope == 1 or (act.slope and self.neuron in ("if", "asymmetric")):
            return "asymmetric"
        if act.slope or self.neuron == "asymmetric":
            kind = "LeakyReLU" if act.slope else "ReLU"
            raise ConversionError(
                f"{name} has a clipped {kind}, which no {self.neuron} neuron represents: use --neuron if"
            )
        return self.neuron


def check_convolution(conv: nn.Conv2d, name: str) -> None:
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ConversionError(f"{name}: padding {conv.padding_mode}/{conv.padding} is not supported; use zero padding")

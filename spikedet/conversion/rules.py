"""One rule per module type: how it becomes spiking nodes. The converter itself knows no algorithm and no model.

A rule receives the module, its qualified name and the names of the nodes it reads, adds nodes to the ``GraphBuilder``
and returns the name of its output. To support a module, write a rule, register it and add a parity test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from ultralytics.nn.modules import Bottleneck, Concat, Conv, Detect

from spikedet.config import Neuron
from spikedet.conversion.fold import fold_batch_norm
from spikedet.errors import ConversionError
from spikedet.quantization import ClippedReLU
from spikedet.snn import Node, Readout, SpikingConv
from spikedet.snn.layers import Add, AvgPool, Upsample
from spikedet.snn.layers import Concat as ConcatTrains

Rule = Callable[["GraphBuilder", Any, str, list[str]], str]


@dataclass
class GraphBuilder:
    """Nodes in execution order, and how neurons are to be made."""

    neuron: Neuron
    delay: int
    nodes: list[Node] = field(default_factory=list)

    def add(self, name: str, inputs: list[str], module: nn.Module) -> str:
        """Append a node and return its name."""
        self.nodes.append(Node(name, tuple(inputs), module))
        return name

    def convert(self, module: nn.Module, name: str, inputs: list[str]) -> str:
        """Apply the rule of the module's type.

        Raises:
            ConversionError: no rule; the message names the layer and what to use instead.
        """
        rule = RULES.get(type(module))
        if rule is None:
            kind = type(module).__name__
            raise ConversionError(f"{name} ({kind}) cannot spike: {INSTEAD.get(kind, _ANY_OTHER)}")
        return rule(self, module, name, inputs)

    def convolution(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, act: Any, name: str, inputs: list[str]) -> str:
        """A convolution, its optional BN and its clip activation, as one spiking layer."""
        if not isinstance(act, ClippedReLU):
            raise ConversionError(
                f"{name} has the activation {type(act).__name__}, which has no neuron: "
                "train with clip activations (spikedet train), then convert"
            )
        _check_convolution(conv, name)
        neuron = self._neuron(act, name)
        weight, bias = fold_batch_norm(conv, norm)
        theta = act.theta.detach().expand(len(weight)).clone()
        layer = SpikingConv(
            weight,
            bias,
            theta,
            stride=conv.stride,
            padding=_pair(conv.padding),
            dilation=conv.dilation,
            groups=conv.groups,
            neuron=neuron,
            slope=act.slope,
            delay=self.delay,
        )
        return self.add(name, inputs, layer)

    def _neuron(self, act: ClippedReLU, name: str) -> Neuron:
        """The neuron of an activation: a leaky one has the asymmetric, others what was asked for."""
        if act.slope and self.neuron in ("if", "asymmetric"):
            return "asymmetric"
        if act.slope or self.neuron == "asymmetric":
            kind = "LeakyReLU" if act.slope else "ReLU"
            raise ConversionError(
                f"{name} has a clipped {kind}, which no {self.neuron} neuron stands for: use --neuron if"
            )
        return self.neuron


def _check_convolution(conv: nn.Conv2d, name: str) -> None:
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        raise ConversionError(f"{name}: padding {conv.padding_mode}/{conv.padding} is not supported; use zero padding")


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1]))


def _conv(graph: GraphBuilder, module: Conv, name: str, inputs: list[str]) -> str:
    return graph.convolution(module.conv, getattr(module, "bn", None), module.act, name, inputs)


def _sequential(graph: GraphBuilder, module: nn.Sequential, name: str, inputs: list[str]) -> str:
    for key, child in module.named_children():
        inputs = [graph.convert(child, f"{name}.{key}", inputs)]
    return inputs[0]


def _identity(graph: GraphBuilder, module: nn.Identity, name: str, inputs: list[str]) -> str:
    return inputs[0]


def _upsample(graph: GraphBuilder, module: nn.Upsample, name: str, inputs: list[str]) -> str:
    factor = module.scale_factor
    if module.mode != "nearest" or not isinstance(factor, (int, float)) or factor != int(factor):
        raise ConversionError(f"{name}: upsampling must be nearest by a whole factor, got {module.mode} by {factor}")
    return graph.add(name, inputs, Upsample(int(factor)))


def _average_pool(graph: GraphBuilder, module: nn.AvgPool2d, name: str, inputs: list[str]) -> str:
    return graph.add(name, inputs, AvgPool(module))


def _concat(graph: GraphBuilder, module: Concat, name: str, inputs: list[str]) -> str:
    if module.d != 1:
        raise ConversionError(f"{name}: concatenation must be over channels (dimension 1), got {module.d}")
    return graph.add(name, inputs, ConcatTrains())


def _bottleneck(graph: GraphBuilder, module: Bottleneck, name: str, inputs: list[str]) -> str:
    inner = graph.convert(module.cv2, f"{name}.cv2", [graph.convert(module.cv1, f"{name}.cv1", inputs)])
    return graph.add(f"{name}.add", [*inputs, inner], Add()) if module.add else inner


def readout(graph: GraphBuilder, branch: nn.Sequential, name: str, source: str) -> str:
    """A head's branch: spiking layers, then a last plain convolution that reads out the mean input potential."""
    *layers, last = branch
    for index, layer in enumerate(layers):
        source = graph.convert(layer, f"{name}.{index}", [source])
    if not isinstance(last, nn.Conv2d):
        raise ConversionError(f"{name}: a branch must end in a plain convolution, got {type(last).__name__}")
    _check_convolution(last, name)
    if last.groups != 1 or last.dilation != (1, 1):
        raise ConversionError(f"{name}: the last convolution must have one group and no dilation")
    weight, bias = fold_batch_norm(last, None)
    made = Readout(weight, bias, stride=last.stride, padding=_pair(last.padding))
    return graph.add(f"{name}.{len(layers)}", [source], made)


def check_head(head: nn.Module, name: str) -> Detect:
    """The head as an anchor-free ultralytics Detect, or a ConversionError."""
    if type(head) is not Detect or getattr(head, "one2one_cv2", None) is not None:
        raise ConversionError(
            f"{name} ({type(head).__name__}) cannot be read out: the last layer must be a plain Detect"
        )
    return head


RULES: dict[type[nn.Module], Rule] = {
    Conv: _conv,
    Bottleneck: _bottleneck,
    Concat: _concat,
    nn.Sequential: _sequential,
    nn.Identity: _identity,
    nn.Upsample: _upsample,
    nn.AvgPool2d: _average_pool,
}

INSTEAD = {
    "MaxPool2d": "a maximum over spikes is not the maximum's spike train; use a strided convolution or nn.AvgPool2d",
    "SPPF": "it pools with a maximum; use strided convolutions or nn.AvgPool2d",
    "SiLU": "train with clip activations instead",
    "LeakyReLU": "train with clip activations instead",
    "ConvTranspose2d": "use nn.Upsample (nearest) and a convolution",
}
_ANY_OTHER = "use Conv, Bottleneck, nn.Upsample (nearest), nn.AvgPool2d, Concat and a final Detect"

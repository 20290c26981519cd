"""The graph of a converted network as JSON: which layers there are, what each reads, and its settings.

Tensors are stored beside it. A network is made from both without the model that it was converted from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

from spikedet.common.errors import CheckpointError
from spikedet.common.typed import typed
from spikedet.config import LIMITS, MaxPoolRule, Neuron
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample, ZeroPad

MOST_GROWTH = 2**12
"""All factors of upsampling, multiplied."""
Name = Annotated[str, Meta(pattern=r"^\w[\w.]{0,199}$")]
Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=100)]
Whole = Annotated[int, Meta(ge=0, le=2**16)]
Positive = Annotated[int, Meta(ge=1, le=2**16)]
Pair = tuple[Positive, Positive]
Padding = tuple[Whole, Whole]


class Layer(Struct, tag_field="kind", kw_only=True):
    """A node of the graph.

    Attributes:
        name: of the node; its tensors are called ``name.weight`` and so on.
        inputs: names of the nodes that it reads.
    """

    name: Name
    inputs: Names


class Readouts(Layer, tag="readout"):
    """An output layer."""

    stride: Pair
    padding: Padding

    def make(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        return Readout(*_weight_and_bias(self.name, tensors), stride=self.stride, padding=self.padding)


class Currents(Layer, tag="current"):
    """A convolution without neurons."""

    stride: Pair
    padding: Padding
    dilation: Pair
    groups: Positive

    def make(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        geometry = _geometry(self, "stride", "padding", "dilation")
        return LinearConv(*_weight_and_bias(self.name, tensors), **geometry, groups=self.groups)


class Neurons(Layer, tag="neurons"):
    """A convolution with a layer of neurons."""

    stride: Pair
    padding: Padding
    dilation: Pair
    groups: Positive
    neuron: Neuron
    slope: Annotated[float, Meta(ge=0, le=1)]
    delay: Annotated[int, Meta(ge=LIMITS["delay"][0], le=LIMITS["delay"][1])]

    def make(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        if self.neuron == "asymmetric" and self.slope < 1e-6:
            raise ValueError(f"{self.name} has asymmetric neurons of slope {self.slope}; expected a positive slope")
        weight, bias = _weight_and_bias(self.name, tensors)
        settings = _geometry(self, "stride", "padding", "dilation")
        settings |= {key: getattr(self, key) for key in ("groups", "neuron", "slope", "delay")}
        return SpikingConv(weight, bias, torch.empty_like(bias), **settings)


class Upsampled(Layer, tag="upsample"):
    """Nearest-neighbour upsampling."""

    factor: Annotated[int, Meta(ge=1, le=64)]

    def make(self, _: Mapping[str, Tensor]) -> nn.Module:
        return Upsample(self.factor)


class Joined(Layer, tag="concat"):
    """Concatenation over channels."""

    def make(self, _: Mapping[str, Tensor]) -> nn.Module:
        return Concat()


class Summed(Layer, tag="add"):
    """A sum."""

    def make(self, _: Mapping[str, Tensor]) -> nn.Module:
        return Add()


class Sliced(Layer, tag="slice"):
    """Channels from ``start`` to before ``stop``."""

    start: Whole
    stop: Positive

    def make(self, _: Mapping[str, Tensor]) -> nn.Module:
        return Slice(self.start, self.stop)


class Padded(Layer, tag="zero_pad"):
    """Zeros to the left, right, top and bottom."""

    padding: tuple[Whole, Whole, Whole, Whole]

    def make(self, _: Mapping[str, Tensor]) -> nn.Module:
        return ZeroPad(self.padding)


class Averaged(Layer, tag="average_pool"):
    """Average pooling."""

    kernel: Pair
    stride: Pair
    padding: Padding
    ceil: bool
    count_padding: bool
    divisor: Positive | None = None

    def make(self, _: Mapping[str, Tensor]) -> nn.Module:
        return AvgPool(
            nn.AvgPool2d(self.kernel, self.stride, self.padding, self.ceil, self.count_padding, self.divisor)
        )


class Maxima(Layer, tag="max_pool"):
    """Max-pooling."""

    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    ceil: bool
    rule: MaxPoolRule

    def make(self, _: Mapping[str, Tensor]) -> nn.Module:
        pool = nn.MaxPool2d(self.kernel, self.stride, self.padding, self.dilation, ceil_mode=self.ceil)
        return MaxPool(pool, self.rule)


AnyLayer = Readouts | Currents | Neurons | Upsampled | Joined | Summed | Sliced | Padded | Averaged | Maxima


class Graph(Struct):
    """A converted network without its tensors.

    Attributes:
        layers: in execution order; every input is the image or an earlier one.
        boxes, classes: names of the output layers, one per scale.
        strides: pixels per cell of each scale.
    """

    layers: Annotated[tuple[AnyLayer, ...], Meta(max_length=5000)]
    boxes: Names
    classes: Names
    strides: Annotated[tuple[Annotated[float, Meta(ge=1, le=2**16)], ...], Meta(min_length=1, max_length=100)]


def graph_of(network: SpikingNetwork) -> dict[str, Any]:
    """A network's graph in plain values, for ``CheckpointMeta.graph``."""
    layers = tuple(_layer(node) for node in network.nodes)
    strides = tuple(network.strides.tolist())
    graph = Graph(layers, tuple(network.box_readouts), tuple(network.class_readouts), strides)
    made: dict[str, Any] = msgspec.to_builtins(graph)
    return made


def network_of(path: Path, graph: dict[str, Any], tensors: Mapping[str, Tensor], T: int) -> SpikingNetwork:
    """The network of a stored graph, without values, on the meta device.

    Args:
        path: the file, for messages.
        graph: as ``graph_of`` gives it.
        tensors: of the file, whose shapes are those of the layers.
        T: time steps it was converted for.

    Raises:
        CheckpointError: it is no graph, or a layer reads what is not there.
    """
    stored = typed(Graph, graph, f"{path}: its graph is not valid", CheckpointError)
    known, nodes = {IMAGE}, []
    growth = math.prod(layer.factor for layer in stored.layers if isinstance(layer, Upsampled))
    if growth > MOST_GROWTH:
        raise CheckpointError(f"{path}: its graph is not valid: it enlarges maps more than {MOST_GROWTH} times")
    for layer in stored.layers:
        missing = [name for name in layer.inputs if name not in known]
        if missing or layer.name in known:
            wrong = f"reads {missing[0]}, which is no earlier layer" if missing else "is there twice"
            raise CheckpointError(f"{path}: its graph is not valid: {layer.name} {wrong}")
        if len(layer.inputs) > 1 and not isinstance(layer, (Joined, Summed)):
            raise CheckpointError(f"{path}: its graph is not valid: {layer.name} reads more than one layer")
        known.add(layer.name)
        try:
            nodes.append(Node(layer.name, layer.inputs, layer.make(tensors)))
        except ValueError as error:
            raise CheckpointError(f"{path}: its tensors do not fit its architecture: {error}") from error
    outputs = {node.name for node in nodes if isinstance(node.module, Readout)}
    if not outputs.issuperset(stored.boxes + stored.classes):
        raise CheckpointError(f"{path}: its graph is not valid: its outputs are none of its output layers")
    return SpikingNetwork(nodes, list(stored.boxes), list(stored.classes), torch.tensor(stored.strides), T)


def _weight_and_bias(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Empty ones of the shapes of those in the file."""
    weight = tensors.get(f"{name}.weight")
    if weight is None:
        raise ValueError(f"there is no {name}.weight")
    if weight.ndim != 4 or not weight.numel():
        raise ValueError(f"{name}.weight has the shape {list(weight.shape)}; expected four axes")
    return torch.empty(weight.shape, device="meta"), torch.empty(len(weight), device="meta")


def _layer(node: Node) -> AnyLayer:
    """What is stored of a node."""
    module: Any = node.module
    common: dict[str, Any] = {"name": node.name, "inputs": node.inputs}
    match module:
        case SpikingConv():
            settings = {key: getattr(module, key) for key in ("groups", "neuron", "slope", "delay")}
            return Neurons(**common, **_geometry(module, "stride", "padding", "dilation"), **settings)
        case LinearConv():
            return Currents(**common, **_geometry(module, "stride", "padding", "dilation"), groups=module.groups)
        case Readout():
            return Readouts(**common, **_geometry(module, "stride", "padding"))
        case Upsample():
            return Upsampled(**common, factor=module.factor)
        case Concat():
            return Joined(**common)
        case Add():
            return Summed(**common)
        case Slice():
            return Sliced(**common, start=module.start, stop=module.stop)
        case ZeroPad():
            return Padded(**common, padding=module.padding)
        case AvgPool(pool=pool):
            common |= _geometry(pool, "stride", "padding")
            common |= {"kernel": _pair(pool.kernel_size), "ceil": pool.ceil_mode, "divisor": pool.divisor_override}
            return Averaged(**common, count_padding=pool.count_include_pad)
        case MaxPool(pool=pool):
            common |= _geometry(pool, "stride", "padding", "dilation")
            return Maxima(**common, kernel=_pair(pool.kernel_size), ceil=pool.ceil_mode, rule=module.rule)
        case _:
            raise TypeError(f"{node.name}: a {type(module).__name__} has no stored form")


def _geometry(module: Any, *names: str) -> dict[str, Any]:
    return {name: _pair(getattr(module, name)) for name in names}


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])

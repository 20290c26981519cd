"""The graph of a converted network as JSON: which layers there are, what each reads, and its settings.

Tensors are stored beside it. A network is made from both without the model that it was converted from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union

import msgspec
import torch
from msgspec import Meta
from torch import Tensor, nn

from spikedet.common.errors import CheckpointError
from spikedet.common.typed import typed
from spikedet.config import LIMITS, MaxPoolRule, Neuron, Reset
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import DECAYS, Convolution
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample, ZeroPad

MOST_GROWTH = 2**12
"""All factors of upsampling, multiplied."""
Name = Annotated[str, Meta(pattern=r"^\w[\w.]{0,199}$")]
Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=100)]
Whole = Annotated[int, Meta(ge=0, le=2**16)]
Positive = Annotated[int, Meta(ge=1, le=2**16)]
Pair, Padding = tuple[Positive, Positive], tuple[Whole, Whole]
Slope, Delay = Annotated[float, Meta(ge=0, le=1)], Annotated[int, Meta(ge=0, le=LIMITS["delay"][1])]
Stride = Annotated[float, Meta(ge=1, le=2**16)]
Decay = Annotated[float, Meta(ge=0, le=1)]

_CONVOLUTION: dict[str, Any] = {"stride": Pair, "padding": Padding, "dilation": Pair, "groups": Positive}
_POOL: dict[str, Any] = {"kernel_size": Pair, "stride": Pair, "padding": Padding, "ceil_mode": bool}
SETTINGS: dict[type[nn.Module], dict[str, Any]] = {
    SpikingConv: {
        **_CONVOLUTION,
        **{"neuron": Neuron, "slope": Slope, "delay": Delay, "decays": tuple[Decay, Decay], "reset": Reset},
    },
    LinearConv: _CONVOLUTION,
    Readout: {"stride": Pair, "padding": Padding},
    Upsample: {"factor": Annotated[int, Meta(ge=1, le=64)]},
    Slice: {"start": Whole, "stop": Positive},
    ZeroPad: {"padding": tuple[Whole, Whole, Whole, Whole]},
    Concat: {},
    Add: {},
    AvgPool: {**_POOL, "count_include_pad": bool, "divisor_override": Positive | None},
    MaxPool: {**_POOL, "dilation": Pair, "rule": MaxPoolRule},
}
"""What is stored of a layer, by its type: the settings of its constructor, or of its pooling module's, and their types.

``kind`` is the name of the type, ``name`` that of the node, ``inputs`` are names of the nodes that it reads.
"""

_DEFAULTS: dict[str, Any] = {"decays": DECAYS, "reset": "hard"}
"""Of settings that are stored only where they are others: earlier versions did not know them."""

_FORMS = {
    kind: msgspec.defstruct(
        kind.__name__,
        [("name", Name), ("inputs", Names)]
        + [(key, form, _DEFAULTS[key]) if key in _DEFAULTS else (key, form) for key, form in fields.items()],
        tag_field="kind",
        tag=kind.__name__,
        omit_defaults=True,
    )
    for kind, fields in SETTINGS.items()
}
_KINDS = {form: kind for kind, form in _FORMS.items()}
_Layers: Any = Annotated[tuple[Union[tuple(_FORMS.values())], ...], Meta(max_length=5000)]  # type: ignore[misc]  # noqa: UP007
Graph: Any = msgspec.defstruct(
    "Graph",
    [
        ("layers", _Layers),
        ("boxes", Names),
        ("classes", Names),
        ("strides", Annotated[tuple[Stride, ...], Meta(min_length=1, max_length=100)]),
        ("group", Delay, 0),
        ("leak", Slope, 0.0),
    ],
)
"""Layers in execution order, names of the output layers by scale, pixels per cell of each scale, groups of steps."""


def graph_of(network: SpikingNetwork) -> dict[str, Any]:
    """A network's graph in plain values, for ``CheckpointMeta.graph``."""
    layers, strides = tuple(map(_stored, network.nodes)), tuple(network.strides.tolist())
    graph = Graph(layers, network.box_readouts, network.class_readouts, strides, network.group, network.leak)
    return msgspec.to_builtins(graph)


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
    try:
        if math.prod(getattr(layer, "factor", 1) for layer in stored.layers) > MOST_GROWTH:
            raise ValueError(f"it enlarges maps more than {MOST_GROWTH} times")
        for layer in stored.layers:
            if missing := [name for name in layer.inputs if name not in known]:
                raise ValueError(f"{layer.name} reads {missing[0]}, which is no earlier layer")
            if layer.name in known:
                raise ValueError(f"{layer.name} is there twice")
            known.add(layer.name)
            nodes.append(Node(layer.name, layer.inputs, _made(layer, tensors)))
        outputs = {node.name for node in nodes if isinstance(node.module, Readout)}
        if not outputs.issuperset(stored.boxes + stored.classes):
            raise ValueError("its outputs are none of its output layers")
        boxes, classes, strides = list(stored.boxes), list(stored.classes), torch.tensor(stored.strides)
        return SpikingNetwork(nodes, boxes, classes, strides, T, group=stored.group, leak=stored.leak)
    except ValueError as error:
        raise CheckpointError(f"{path}: its graph is not valid: {error}") from error


def _stored(node: Node) -> Any:
    """What is stored of a node."""
    module = node.module
    if type(module) not in SETTINGS:
        raise TypeError(f"{node.name}: a {type(module).__name__} has no stored form")
    fields = SETTINGS[type(module)]
    values = {key: getattr(module, key, None) for key in fields} | {
        key: getattr(module.pool, key) for key in fields if isinstance(module, (AvgPool, MaxPool)) and key != "rule"
    }
    values |= {key: (v, v) for key, v in values.items() if fields[key] in (Pair, Padding) and isinstance(v, int)}
    return _FORMS[type(module)](node.name, tuple(node.inputs), **values)


def _made(layer: Any, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The module of a stored layer. Raises ValueError where its tensors or its settings are none of such a layer."""
    kind: Any = _KINDS[type(layer)]
    settings = {key: getattr(layer, key) for key in SETTINGS[kind]}
    if len(layer.inputs) > 1 and kind not in (Add, Concat):
        raise ValueError(f"{layer.name} reads more than one layer")
    if kind is AvgPool:
        return AvgPool(nn.AvgPool2d(**settings))
    if kind is MaxPool:
        rule = settings.pop("rule")
        return MaxPool(nn.MaxPool2d(**settings), rule)
    if not issubclass(kind, Convolution):
        return kind(**settings)
    shape = tensors[f"{layer.name}.weight"].shape if f"{layer.name}.weight" in tensors else ()
    if len(shape) != 4 or not math.prod(shape):
        raise ValueError(f"there is no {layer.name}.weight of four axes")
    if kind is SpikingConv:
        if layer.neuron == "asymmetric" and layer.slope < 1e-6:
            raise ValueError(f"{layer.name} has asymmetric neurons of slope {layer.slope}; expected a positive slope")
        settings["theta"] = torch.empty(shape[0], device="meta")
    return kind(torch.empty(shape, device="meta"), torch.empty(shape[0], device="meta"), **settings)

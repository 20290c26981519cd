"""Folded convolutions without neurons: fan-outs against the matrix of the folded map, and what is not folded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parent.parent / "snn"))

from snn_reference import reference

from spikedet.costs.folding import folded_layers
from spikedet.costs.operations import OperationCounter, layer_synapses
from spikedet.costs.synapses import fan_outs
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork, make_backend, simulate
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, SpikeOp, Upsample

SIDE = 8


def conv(channels_in: int, channels: int, k: int = 3, stride: int = 1, groups: int = 1) -> SpikingConv:
    made = nn.Conv2d(channels_in, channels, k, groups=groups)
    how = {"stride": (stride, stride), "padding": (k // 2, k // 2), "groups": groups}
    return SpikingConv(made.weight.data, made.bias.data, torch.full((channels,), 0.3), **how)  # type: ignore[arg-type,union-attr]


def linear(channels_in: int, channels: int, k: int = 1) -> LinearConv:
    made = nn.Conv2d(channels_in, channels, k)
    return LinearConv(made.weight.data, made.bias.data, stride=(1, 1), padding=(k // 2, k // 2))  # type: ignore[union-attr]


def read(channels_in: int, channels: int = 5) -> Readout:
    made = nn.Conv2d(channels_in, channels, 1)
    return Readout(made.weight.data, made.bias.data, stride=(1, 1), padding=(0, 0))  # type: ignore[union-attr]


def network(*nodes: Node) -> SpikingNetwork:
    outputs = [node.name for node in nodes if isinstance(node.module, Readout)]
    return SpikingNetwork(list(nodes), outputs, outputs, torch.ones(len(outputs)), 4)


def neck() -> SpikingNetwork:
    """Laterals of two scales, added on the way up and on the way down; spikes of ``fine`` are also read as they are."""
    torch.manual_seed(0)
    return network(
        Node("stem", (IMAGE,), conv(3, 4)),
        Node("fine", ("stem",), conv(4, 3)),
        Node("coarse", ("fine",), conv(3, 4, stride=2)),
        Node("lateral-fine", ("fine",), linear(3, 6)),
        Node("joined", ("coarse", "coarse"), Concat()),
        Node("lateral-coarse", ("joined",), linear(8, 6)),
        Node("up", ("lateral-coarse",), Upsample(2)),
        Node("sum", ("lateral-fine", "up"), Add()),
        Node("p3", ("sum",), conv(6, 2)),
        Node("down", ("sum",), AvgPool(nn.AvgPool2d(2))),
        Node("q4", ("lateral-coarse", "down"), Add()),
        Node("second", ("q4",), linear(6, 6)),
        Node("p4", ("second",), conv(6, 7, stride=2)),
        Node("beside", ("fine",), conv(3, 2, k=1)),
        Node("out3", ("p3",), read(2)),
        Node("out4", ("p4",), read(7)),
        Node("whole", ("sum",), read(6)),
        Node("out", ("beside",), read(2)),
    )


@pytest.mark.parametrize(
    ("reader", "sender", "copies"), [("p3", "fine", 1), ("p4", "fine", 1), ("p3", "coarse", 2), ("whole", "coarse", 2)]
)
def test_fan_outs_are_the_weights_of_the_folded_map(reader: str, sender: str, copies: int) -> None:
    """Entries that are not zero in the matrix from the inputs of the laterals to the reader; once for each copy."""
    made, found = neck(), fan_outs(neck(), (SIDE, SIDE))[sender]
    matrix = torch.autograd.functional.jacobian(lambda x: behind(made, reader, sender, x), spikes_of(made, sender))
    met = torch.count_nonzero(matrix.abs() > 1e-9, (0, 1, 2, 3)).double()[0]
    assert torch.equal(found.maps[found.readers.index(reader)][found.groups], copies * met)


def test_laterals_are_folded() -> None:
    made = neck()
    assert folded_layers(made) == {"lateral-fine", "lateral-coarse", "second"}
    found = fan_outs(made, (SIDE, SIDE))
    assert found["fine"].readers[0] == "coarse" and "beside" in found["fine"].readers
    assert not found.keys() & folded_layers(made)


def spikes_of(made: SpikingNetwork, name: str) -> Tensor:
    return torch.zeros(1, *made.shapes((SIDE, SIDE))[name])


def behind(made: SpikingNetwork, reader: str, sender: str, spikes: Tensor) -> Tensor:
    """The reader's potential where the laterals that read ``sender`` get these spikes, its channels once each."""
    shapes = made.shapes((SIDE, SIDE))
    values = {name: torch.zeros(1, 1, *shape) for name, shape in shapes.items()}
    values[sender] = spikes.unsqueeze(0)
    for node in made.nodes:
        if node.name == "joined" and sender == "coarse":
            values["joined"] = torch.cat([values["coarse"], torch.zeros_like(values["coarse"])], 2)
        elif isinstance(node.module, LinearConv):
            values[node.name] = node.module.convolved(values[node.inputs[0]][0], bias=0 * node.module.bias).unsqueeze(0)
        elif isinstance(node.module, SpikeOp):
            values[node.name] = node.module([values[name] for name in node.inputs])
    module = made.get_submodule(reader)
    return F.conv2d(values[node_of(made, reader).inputs[0]][0], module.weight, None, module.stride, module.padding)  # type: ignore[arg-type]


def node_of(made: SpikingNetwork, name: str) -> Node:
    return next(node for node in made.nodes if node.name == name)


def test_folded_layers_cost_no_macs_and_their_readers_count_spikes() -> None:
    made = neck()
    layers = {layer.layer: layer for layer in layer_synapses(made, (SIDE, SIDE))}
    assert sum(layer.analog_macs for layer in layers.values()) == 0
    assert layers["lateral-fine"].macs == 3 * 6 * SIDE**2 and layers["lateral-fine"].macs_inside == 0
    images, T = torch.rand(2, 3, SIDE, SIDE), 3
    used = make_backend(made, "torch")
    counter = OperationCounter(made, used, (SIDE, SIDE), T)
    counter.begin(2)
    list(simulate(made, images, [T], T=T, backend=used, watch=counter))
    slow, found = reference(made, images, T), fan_outs(made, (SIDE, SIDE))
    expected = torch.zeros(T, 2, dtype=torch.float64)
    for sender in ("fine", "coarse"):
        fan_out = found[sender].maps[found[sender].readers.index("p3")][found[sender].groups]
        expected += (slow.spikes[sender].abs().double() * fan_out).sum((2, 3, 4))
    assert expected.any() and torch.equal(counter.sops[counter.layers.index("p3")], expected)


@pytest.mark.parametrize(
    ("between", "reader"),
    [
        (linear(3, 4, k=3), conv(4, 4)),
        (Slice(0, 2), conv(2, 4)),
        (MaxPool(nn.MaxPool2d(2)), conv(4, 4)),
        (None, conv(4, 4, groups=2)),
    ],
)
def test_what_is_not_folded(between: SpikeOp | None, reader: SpikingConv) -> None:
    """A wide kernel, a part of the channels, a maximum behind it, a grouped reader."""
    wide = isinstance(between, LinearConv)
    made = network(
        Node("stem", (IMAGE,), conv(3, 3)),
        Node("linear", ("stem",), between if wide else linear(3, 4)),  # type: ignore[arg-type]
        *([Node("between", ("linear",), between)] if between and not wide else []),
        Node("reader", ("between" if between and not wide else "linear",), reader),
        Node("out", ("reader",), read(4)),
    )
    assert not folded_layers(made)
    assert next(x for x in layer_synapses(made, (SIDE, SIDE)) if x.layer == "linear").analog_macs


def test_a_layer_behind_an_analog_current_is_not_folded() -> None:
    made = network(
        Node("stem", (IMAGE,), conv(3, 3)),
        Node("analog", ("stem",), linear(3, 4, k=3)),
        Node("linear", ("analog",), linear(4, 4)),
        Node("reader", ("linear",), conv(4, 2)),
        Node("out", ("reader",), read(2)),
    )
    assert not folded_layers(made)

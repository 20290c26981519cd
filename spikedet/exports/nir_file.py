"""NIR, the neuromorphic intermediate representation: exact, or refused by name with what it would take.

What NIR 1.0.8 has, and what becomes of our layers:

- IF: v <- v + R I; z = 1 if v > v_threshold; then v <- v_reset. It starts at 0 and knows no subtraction. With one time
  step no neuron lives to see its reset, so a network of T = 1 can be written: u[0] + v >= theta is v > v_threshold with
  the number just below the smallest v that fires. At T > 1 a soft reset is lost, so it is refused.
- CubaLIF, in steps of 1: I <- I + (w_in x - I) / tau_syn; v <- v + (R I - v) / tau_mem; z and the reset as IF. These
  are the C-LIF neurons with hard reset to 0, for any T: tau = 1 / (1 - d), w_in = tau_syn, R = tau_mem.
- Conv2d for convolutions, Scale for what a spike is worth, AvgPool2d. Edges that meet are summed, so a sum is two
  edges, and a concatenation is one convolution for each part, its other weights zero.
- no upsampling, no max-pooling: refused.

Outputs send the head's logits step by step; after t steps their mean is what the network reads out.

``run`` is a small interpreter of these types, so that a file is read back and held against its network.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.common.errors import ExportError
from spikedet.exports.metadata import KEY, ExportMeta, from_text, output_names, to_text
from spikedet.exports.outputs import outputs_of
from spikedet.exports.subject import Outputs, Run, Subject
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import Convolution, broadcast, pair
from spikedet.snn.operations import Add, AvgPool, Concat, Slice, window


@dataclasses.dataclass(frozen=True)
class Piece:
    """Channels ``[start, stop)`` of a NIR node, which are added to a train from its channel ``offset`` on."""

    source: str
    start: int
    stop: int
    offset: int


Train = list[Piece]


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write ``PATH`` (HDF5).

    Raises:
        ExportError: NIR cannot hold the network without loss; the message names the layers and what they would take.
    """
    if problems := refusals(subject.network):
        raise ExportError("; ".join(problems))
    graph = to_nir(subject)
    nir.write(path, graph)
    return {"NIR nodes": str(len(graph.nodes)), "NIR edges": str(len(graph.edges))}


def refusals(network: SpikingNetwork) -> list[str]:
    """Why NIR cannot hold a network: a sentence for each reason, with the first layer that has it."""
    found: dict[str, list[str]] = defaultdict(list)
    for node in network.nodes:
        if reason := _refusal(node.module, network.T):
            found[reason].append(node.name)
    more = {reason: f" (and {len(names) - 1} more)" if len(names) > 1 else "" for reason, names in found.items()}
    return [f"{names[0]}{more[reason]}: {reason}" for reason, names in found.items()]


def _refusal(module: nn.Module, T: int) -> str | None:
    if isinstance(module, SpikingConv) and (reason := _neuron_refusal(module, T)):
        return reason
    match module:
        case Convolution():
            height, width = module.weight.shape[2:]
            return None if height == width else "nir takes every kernel for a square one; it takes square kernels"
        case AvgPool():
            pool = module.pool
            sides = {str(v) for name in ("padding", "ceil_mode", "divisor_override") if (v := getattr(pool, name))}
            return "NIR's AvgPool2d knows no padding rule; it takes a pool without" if sides - {"(0, 0)"} else None
        case Add() | Concat() | Slice():
            return None
    kind = type(module).__name__
    return f"NIR has no node for {kind}; it takes strided convolutions and heads at the last scale"


def _neuron_refusal(layer: SpikingConv, T: int) -> str | None:
    if layer.neuron == "clif":
        if layer.reset != "hard" or bool(layer.u0.any()):
            return "NIR's CubaLIF starts at 0 and is set to v_reset by a spike; it takes hard reset and u[0] = 0"
        return "NIR's CubaLIF leaks; it takes decays below 1" if max(layer.decays) >= 1 else None
    if layer.neuron == "asymmetric" or (layer.neuron == "signed" and T > 1):
        return f"NIR has no {layer.neuron} neuron, one that sends negative spikes; it takes clipped ReLUs alone"
    if T > 1:
        return (
            "NIR's IF is set to v_reset by a spike and starts at 0, ours subtracts the threshold; "
            "it takes spikedet convert --T 1, where nothing is reset"
        )
    return None


def to_nir(subject: Subject) -> nir.NIRGraph:
    """The graph of a network without refusals."""
    network = subject.network
    graph = _Graph(network, network.shapes(subject.image_hw))
    names = iter(_outlets(subject.file_meta))
    for box, kind in zip(network.box_readouts, network.class_readouts, strict=True):
        graph.outputs |= {box: next(names), kind: next(names)}
    for node in network.nodes:
        graph.add(node)
    return nir.NIRGraph(graph.nodes, graph.edges, {KEY: to_text(subject.file_meta)})


class _Graph:
    """A NIR graph while it is built: ``trains`` says which NIR nodes make up what each of ours sends."""

    def __init__(self, network: SpikingNetwork, shapes: dict[str, tuple[int, int, int]]) -> None:
        self.shapes = shapes
        self.nodes: dict[str, Any] = {IMAGE: nir.Input(np.array(shapes[IMAGE]))}
        self.edges: list[tuple[str, str]] = []
        self.outputs: dict[str, str] = {}
        self.channels = {IMAGE: shapes[IMAGE]}
        self.trains: dict[str, Train] = {IMAGE: [Piece(IMAGE, 0, shapes[IMAGE][0], 0)]}

    def add(self, node: Node) -> None:
        module, made = node.module, self.shapes[node.name]
        inputs = [self.trains[name] for name in node.inputs]
        match module:
            case Add():
                train = [piece for pieces in inputs for piece in pieces]
            case Concat():
                starts = np.cumsum([0, *(self.shapes[name][0] for name in node.inputs)])
                train = [
                    dataclasses.replace(piece, offset=piece.offset + int(start))
                    for pieces, start in zip(inputs, starts, strict=False)
                    for piece in pieces
                ]
            case Slice():
                train = [cut for piece in inputs[0] if (cut := _cut(piece, module.start, module.stop))]
            case AvgPool():
                sources = {piece.source: f"{node.name}.{i}" for i, piece in enumerate(inputs[0])}
                for source, name in sources.items():
                    self._pool(name, source, module.pool, made)
                train = [dataclasses.replace(piece, source=sources[piece.source]) for piece in inputs[0]]
            case SpikingConv():
                train = [Piece(self._neurons(node.name, module, self._convolutions(node, inputs[0])), 0, made[0], 0)]
            case Readout():
                name = self.outputs[node.name]
                self.nodes[name] = nir.Output(np.array(made))
                self.edges += [(source, name) for source in self._convolutions(node, inputs[0])]
                train = []
            case _:
                train = [Piece(name, 0, made[0], 0) for name in self._convolutions(node, inputs[0])]
        self.trains[node.name] = train

    def _convolutions(self, node: Node, train: Train) -> list[str]:
        """One convolution for each NIR node that a train is made of; what they send is to be summed."""
        layer: Any = node.module
        weight, bias = layer.whole().cpu(), layer.bias.detach().cpu()  # nir's types know no groups
        weights: dict[str, Tensor] = {}
        for piece in train:
            channels = self.channels[piece.source][0]
            own = weights.setdefault(piece.source, weight.new_zeros(len(weight), channels, *weight.shape[2:]))
            own[:, piece.start : piece.stop] += weight[:, piece.offset : piece.offset + piece.stop - piece.start]
        names = []
        for number, (source, own) in enumerate(weights.items()):
            names.append(f"{node.name}.conv.{number}")
            how: Any = map(pair, (layer.stride, layer.padding, layer.dilation))
            hw = tuple(self.channels[source][1:])
            part = bias if number == 0 else torch.zeros_like(bias)
            made = nir.Conv2d(hw, own.numpy(), *how, 1, part.numpy())
            self._put(names[-1], made, self.shapes[node.name], [source])
        return names

    def _neurons(self, name: str, layer: SpikingConv, sources: list[str]) -> str:
        """Neurons, and a Scale by what their spikes are worth."""
        shape = self.shapes[name]
        none = np.zeros(shape, np.float32)
        theta, u0 = (broadcast(values.detach().cpu())[0] for values in (layer.theta, layer.u0))
        if layer.neuron == "clif":
            below = torch.nextafter(theta, torch.tensor(-torch.inf)).expand(shape).numpy().copy()
            synapse, membrane = (np.full(shape, 1 / (1 - decay), np.float32) for decay in layer.decays)
            neurons = nir.CubaLIF(synapse, membrane, membrane.copy(), none, below, none.copy(), synapse.copy())
        else:
            neurons = nir.IF(none + 1, last_silent(u0.expand(shape), theta.expand(shape)).numpy(), none)
        self._put(f"{name}.neurons", neurons, shape, sources)
        self._put(f"{name}.worth", nir.Scale(theta.expand(shape).numpy().copy()), shape, [f"{name}.neurons"])
        return f"{name}.worth"

    def _pool(self, name: str, source: str, pool: nn.AvgPool2d, made: tuple[int, int, int]) -> None:
        kernel, stride, *_ = map(np.array, window(pool))
        shape = (self.channels[source][0], *made[1:])
        self._put(name, nir.AvgPool2d(kernel, stride, np.array((0, 0))), shape, [source])

    def _put(self, name: str, node: Any, shape: tuple[int, int, int], sources: list[str]) -> None:
        self.nodes[name], self.channels[name] = node, shape
        self.edges += [(source, name) for source in sources]


def last_silent(u0: Tensor, theta: Tensor) -> Tensor:
    """The largest float32 v at which u0 + v, rounded as it is, stays below theta; found by bisection.

    Floats are in the order of their bits once those of negative numbers are turned around.
    """
    most = torch.tensor(torch.finfo(torch.float32).max)
    low, high = (_in_order((sign * most).expand_as(theta)) for sign in (-1, 1))
    while bool((high - low > 1).any()):
        middle = (low + high) // 2
        fires = u0 + _float(middle) >= theta
        low, high = torch.where(fires, low, middle), torch.where(fires, middle, high)
    return _float(low)


def _in_order(values: Tensor) -> Tensor:
    bits = values.contiguous().view(torch.int32).long()
    return torch.where(bits < 0, -(2**31) - bits, bits)


def _float(order: Tensor) -> Tensor:
    return torch.where(order < 0, -(2**31) - order, order).int().view(torch.float32)


def _cut(piece: Piece, start: int, stop: int) -> Piece | None:
    """What a slice of a train keeps of a piece of it."""
    first, last = max(piece.offset, start), min(piece.offset + piece.stop - piece.start, stop)
    shift = piece.start - piece.offset
    return Piece(piece.source, first + shift, last + shift, first - start) if first < last else None


def run(path: Path) -> Run:
    """The file as a function of images."""
    graph = nir.read(path)
    text = graph.metadata.get(KEY)
    return partial(_outputs, graph, from_text(text.decode() if isinstance(text, bytes) else text, str(path)))


def _outlets(meta: ExportMeta) -> list[str]:
    """Names of the outputs, the same in every time step."""
    return output_names(dataclasses.replace(meta, steps=()))[0]


@torch.no_grad()
def _outputs(graph: nir.NIRGraph, meta: ExportMeta, images: Tensor) -> dict[int, Outputs]:
    """What the file sends in all time steps, read out as the network is."""
    sources: dict[str, list[str]] = defaultdict(list)
    for source, name in graph.edges:
        sources[name].append(source)
    states: dict[str, Any] = {}
    sums = dict.fromkeys(_outlets(meta), torch.zeros(()))
    spikes = torch.zeros(len(images), dtype=torch.float64)
    tensors: dict[str, Tensor] = {}
    for t in range(1, max(meta.steps) + 1):
        values = _step(graph, sources, states, images)
        fired = [v for name, v in values.items() if isinstance(graph.nodes[name], (nir.IF, nir.CubaLIF))]
        spikes = spikes + sum(v.flatten(1).sum(1).double() for v in fired)
        sums = {name: total + values[name] for name, total in sums.items()}
        if t in meta.steps:
            read = [*(total / t for total in sums.values()), spikes]
            tensors |= dict(zip(output_names(meta)[t], read, strict=True))
    return outputs_of(tensors, meta, len(images))


def _step(
    graph: nir.NIRGraph, sources: dict[str, list[str]], states: dict[str, Any], images: Tensor
) -> dict[str, Tensor]:
    """What every node sends in one step; edges that meet are summed."""
    values = {IMAGE: images}
    for name in TopologicalSorter(sources).static_order():
        if name != IMAGE:
            first, *others = (values[source] for source in sources[name])
            values[name], states[name] = _sent(graph.nodes[name], sum(others, start=first), states.get(name))
    return values


def _sent(node: nir.NIRNode, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """What a node sends for its input in one step, and its state after it."""
    match node:
        case nir.Conv2d():
            how: Any = tuple(tuple(map(int, values)) for values in (node.stride, node.padding, node.dilation))
            return F.conv2d(x, _tensor(node.weight), _tensor(node.bias), *how), None
        case nir.IF():
            return _fired(node, (0.0 if state is None else state) + _tensor(node.r) * x)
        case nir.CubaLIF():
            current, v = (torch.zeros_like(x),) * 2 if state is None else state
            current = current + (_tensor(node.w_in) * x - current) / _tensor(node.tau_syn)
            v = v + (_tensor(node.v_leak) - v + _tensor(node.r) * current) / _tensor(node.tau_mem)
            spikes, v = _fired(node, v)
            return spikes, (current, v)
        case nir.Scale():
            return x * _tensor(node.scale), None
        case nir.AvgPool2d():
            kernel, stride = (tuple(map(int, values)) for values in (node.kernel_size, node.stride))
            return F.avg_pool2d(x, kernel, stride), None
    assert isinstance(node, nir.Output)
    return x, None


def _fired(node: Any, v: Tensor) -> tuple[Tensor, Tensor]:
    spikes = v > _tensor(node.v_threshold)
    return spikes.to(v.dtype), torch.where(spikes, _tensor(node.v_reset), v)


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))

"""Networks in which no sum is rounded, so that every engine, in any order of summation, sends the same spikes.

Every potential is a whole number of small steps q, a power of two, and stays below 2^24 of them: such numbers float32
holds exactly. Channels may be scaled without a change to their spikes: weights, bias, u[0] and theta by a factor, the
weights that read them by the inverse. So thresholds become 1, and what is rounded is weights. Where maps are added
their channels have one scale, and thetas are whole eighths of the largest. An image's values k / 255 are read as k.

With inputs |x| <= B that are multiples of e, a potential is in T steps at most

    U = |u[0]| + T (sum |W| B + |b| + theta),    q = 2^ceil(log2 U - 24),

and weights are multiples of q / e. This is ours.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spikedet.common.errors import ExportError
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import Convolution
from spikedet.snn.network import PIXELS
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample, ZeroPad, window

WHOLE_BITS = 24
"""All whole numbers up to 2^24 are float32 numbers."""
SHARES = 8
"""Parts of the largest theta where maps are added."""
MARGIN = 1.01
"""On the largest potential, for what rounding adds to weights."""
MOST_ERROR = 0.5
"""Root-mean-square error of a layer's weights, relative to the weights, that is no longer the same network."""


@dataclass(frozen=True)
class Values:
    """What a node sends.

    Attributes:
        worth: ``[C]``, of a value of 1, in activation units.
        unit: a power of two; every value is a multiple of it.
        most: ``[C]``, the largest magnitude of a value.
    """

    worth: Tensor
    unit: float
    most: Tensor


def to_fixed_point(network: SpikingNetwork) -> tuple[SpikingNetwork, dict[str, float]]:
    """A copy with rounded weights; a network of fixed point is returned as it is.

    Returns:
        The network, and by spiking layer the root-mean-square error of its weights relative to them.

    Raises:
        ExportError: neurons that leak, groups of steps, T too large, or a layer whose values have no common step; the
            message names it.
    """
    if network.group:
        raise ExportError("integers over several real time steps (SFA) leak, and have no common step")
    if network.fixed_point:
        return network, {}
    nodes = [Node(node.name, node.inputs, copy.deepcopy(node.module)) for node in network.nodes]
    largest, errors = _largest_thetas(nodes), dict[str, float]()
    values = {IMAGE: Values(torch.full((3,), 1 / 255).double(), 1.0, torch.full((3,), 255.0).double())}
    for node in nodes:
        inputs = [values[name] for name in node.inputs]
        match node.module:
            case SpikingConv() as layer:
                values[node.name], errors[node.name] = _round_(
                    node.name, layer, inputs[0], largest[node.name], network.T
                )
            case Readout() as layer:  # a mean of what was sent; nothing is compared with a threshold any more
                layer.weight = nn.Parameter(_valued(layer, inputs[0].worth).to(layer.weight.dtype))
            case module:
                values[node.name] = _moved(node.name, module, inputs)
    reading_pixels = [
        Node(node.name, tuple(PIXELS if name == IMAGE else name for name in node.inputs), node.module) for node in nodes
    ]
    pixels = LinearConv(255 * torch.eye(3).view(3, 3, 1, 1), torch.zeros(3), stride=(1, 1), padding=(0, 0))
    outputs = (network.box_readouts, network.class_readouts)
    made = SpikingNetwork([Node(PIXELS, (IMAGE,), pixels), *reading_pixels], *outputs, network.strides, network.T)
    return made, errors


def _largest_thetas(nodes: Sequence[Node]) -> dict[str, Tensor]:
    """By spiking layer ``[C]``, the largest theta of all channels that a channel is added to, its own among them.

    Raises:
        ExportError: a layer without neurons.
    """
    channels = {IMAGE: [0, 1, 2]}
    thetas = [0.0, 0.0, 0.0]
    above = [0, 1, 2]  # disjoint sets: a channel points to another of its set, the last one to itself

    def root(index: int) -> int:
        while above[index] != index:
            index = above[index]
        return index

    for node in nodes:
        inputs = [channels[name] for name in node.inputs]
        match node.module:
            case SpikingConv() as layer:
                inputs = [list(range(len(above), len(above) + len(layer.theta)))]
                above += inputs[0]
                thetas += layer.theta.tolist()
            case LinearConv():
                raise ExportError(
                    f"{node.name}: the values of this LinearConv have no common step; convert with --linear spiking"
                )
            case Concat():
                inputs = [[index for part in inputs for index in part]]
            case Slice() as part:
                inputs = [inputs[0][part.start : part.stop]]
            case Add():
                for index, *others in zip(*inputs, strict=True):
                    for other in others:
                        above[root(other)] = root(index)
        channels[node.name] = inputs[0]
    roots = [root(index) for index in range(len(above))]
    most: dict[int, float] = {}
    for theta, of in zip(thetas, roots, strict=True):
        most[of] = max(theta, most.get(of, 0.0))
    spiking = [node.name for node in nodes if isinstance(node.module, SpikingConv)]
    return {name: torch.tensor([most[roots[i]] for i in channels[name]]).double() for name in spiking}


def _valued(layer: Convolution, worth: Tensor) -> Tensor:
    """Weights of a layer for inputs in units of what they are worth, float64."""
    return layer.weight.detach().double() * layer.by_input(worth)


@torch.no_grad()
def _round_(name: str, layer: SpikingConv, inputs: Values, largest: Tensor, T: int) -> tuple[Values, float]:
    """Scale and round a layer in place; returns what it sends, and the error of its weights."""
    if layer.neuron == "clif" or (layer.slope and math.log2(layer.slope) % 1):
        kind = "C-LIF neurons leak" if layer.neuron == "clif" else f"a slope of {layer.slope:g}"
        raise ExportError(f"{name}: its potentials have no common step ({kind})")
    before = layer.theta.double()
    added = bool((before != largest).any())
    theta = (before / largest * SHARES).round().clamp_min(1) / SHARES
    gain = theta / before
    weight = _valued(layer, inputs.worth) * gain.view(-1, 1, 1, 1)
    bias, u0 = layer.bias.double() * gain, layer.u0.double() * layer.per_place(gain)
    potential = (weight.abs() * layer.by_input(inputs.most)).flatten(1).sum(1) + bias.abs()
    potential += theta / (layer.slope or 1)
    potential = u0.abs().flatten(1).amax(1) + T * potential if u0.ndim > 1 else u0.abs() + T * potential
    step = torch.exp2((potential * MARGIN).log2().ceil() - WHOLE_BITS)
    rounded = _nearest(weight, (step / inputs.unit).view(-1, 1, 1, 1))
    error = float(((rounded - weight).square().mean() / weight.square().mean().clamp_min(1e-30)).sqrt())
    if error > MOST_ERROR:
        raise ExportError(
            f"{name}: in T = {T} steps its potentials can be so large that weights would be rounded by "
            f"{100 * error:.0f} % of their size; use a smaller T"
        )
    for parameter, value in ((layer.weight, rounded), (layer.bias, _nearest(bias, step))):
        parameter.copy_(value)
    layer.u0.copy_(_nearest(u0, layer.per_place(step)))
    layer.theta.copy_(theta)
    return Values(largest if added else before, 1 / SHARES if added else 1.0, theta), error


def _nearest(values: Tensor, step: Tensor) -> Tensor:
    return (values / step).round() * step


def _moved(name: str, module: nn.Module, inputs: Sequence[Values]) -> Values:
    """What an operation between layers sends. Raises ExportError where that has no common step."""
    x, unit = inputs[0], min(values.unit for values in inputs)
    match module:
        case Upsample() | MaxPool() | ZeroPad():
            return x
        case Slice():
            return Values(x.worth[module.start : module.stop], unit, x.most[module.start : module.stop])
        case Concat():
            return Values(torch.cat([v.worth for v in inputs]), unit, torch.cat([v.most for v in inputs]))
        case Add() if all(torch.equal(values.worth, x.worth) for values in inputs):
            return Values(x.worth, unit, functools.reduce(torch.add, [v.most for v in inputs]))
        case AvgPool():
            places = math.prod(window(module.pool)[0])
            if module.even and module.pool.divisor_override is None and places & (places - 1) == 0:
                return Values(x.worth, unit / places, x.most)
    raise ExportError(f"{name}: the values of this {type(module).__name__} have no common step")

"""A slow simulator to hold the fast one against, and random networks to run on both.

One global step after another, every layer's windows written out, spike trains kept whole, no code of the simulator's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample, ZeroPad


@dataclass
class Reference:
    """Output windows of every node, from its own first step: ``[T, N, C, H, W]``.

    Attributes:
        trains: in activation units.
        spikes: of the spiking layers, in {-1, 0, 1}.
        begins: global step at which each node's input window begins.
        network: what was simulated.
    """

    trains: dict[str, Tensor]
    spikes: dict[str, Tensor]
    begins: dict[str, int]
    network: SpikingNetwork

    def reading(self, name: str, t: int) -> Tensor:
        """A read-out's mean potential after t steps of its window."""
        node = next(n for n in self.network.nodes if n.name == name)
        assert isinstance(node.module, Readout)
        return node.module(self.trains[node.inputs[0]][:t].sum(0) / t)

    def count(self, t: int) -> Tensor:
        """Spikes of either sign per image in the first t steps of every layer's window."""
        none = torch.zeros(self.trains[IMAGE].shape[1], dtype=torch.float64)
        return sum((s[:t].abs().double().sum((0, 2, 3, 4)) for s in self.spikes.values()), start=none)


@torch.no_grad()
def reference(network: SpikingNetwork, images: Tensor, T: int) -> Reference:
    """Simulate until every window is over."""
    opens, begins = {IMAGE: 0}, {}  # global steps at which output and input windows begin
    for node in network.nodes:
        begins[node.name] = max(opens[source] for source in node.inputs)
        opens[node.name] = begins[node.name] + (node.module.delay if isinstance(node.module, SpikingConv) else 0)
    kept: dict[str, list[Tensor]] = {IMAGE: [images] * T, **{node.name: [] for node in network.nodes}}
    fired: dict[str, list[Tensor]] = {node.name: [] for node, _ in network.spiking()}
    states: dict[str, tuple[Tensor, Tensor]] = {}
    counts: dict[str, Tensor] = {}
    for clock in range(max(opens.values()) + T):
        for node in network.nodes:
            step = clock - begins[node.name]  # of the node's own clock
            inputs = [kept[source][step] for source in node.inputs] if 0 <= step < T else []
            if isinstance(node.module, SpikingConv):
                if 0 <= step < T + node.module.delay:
                    spikes = neuron_step(node.module, inputs, step, states, node.name)
                    if spikes is not None:
                        fired[node.name].append(spikes)
                        kept[node.name].append(spikes * node.module.theta.view(1, -1, 1, 1))
            elif inputs and not isinstance(node.module, Readout):
                if isinstance(node.module, MaxPool):
                    before = counts.get(node.name, torch.zeros_like(inputs[0]))
                    counts[node.name] = before + inputs[0]
                    kept[node.name].append(node.module.pool(counts[node.name]) - node.module.pool(before))
                else:
                    kept[node.name].append(linear(node.module, inputs))
    trains = {name: torch.stack(steps) for name, steps in kept.items() if steps}
    return Reference(trains, {name: torch.stack(steps) for name, steps in fired.items()}, begins, network)


def neuron_step(
    layer: SpikingConv, inputs: list[Tensor], step: int, states: dict[str, tuple[Tensor, Tensor]], name: str
) -> Tensor | None:
    """One step of one layer's own clock: charge; from step ``delay`` on also fire and reset."""
    theta = layer.theta.view(1, -1, 1, 1)
    if inputs:
        v = F.conv2d(inputs[0], layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    else:
        v = torch.zeros_like(states[name][0])  # past its window the input is zero
    if step == 0:
        u0 = layer.u0.view(1, -1, 1, 1) if layer.u0.ndim == 1 else layer.u0
        states[name] = torch.zeros_like(v) + u0, torch.zeros_like(v)
    u, count = states[name]
    u = u + v
    if step < layer.delay:
        states[name] = u, count
        return None
    spikes = torch.where(u >= theta, 1.0, 0.0)
    back = theta
    if layer.neuron == "signed":
        spikes = torch.where((u < 0) & (count > 0), -1.0, spikes)
    elif layer.neuron == "asymmetric":
        back = torch.where(u >= theta, theta, theta / layer.slope)
        spikes = torch.where(u <= -theta / layer.slope, -1.0, spikes)
    states[name] = u - back * spikes, count + spikes
    return spikes


def linear(module: torch.nn.Module, inputs: list[Tensor]) -> Tensor:
    """One step ``[N, C, H, W]`` of the operations on spike trains."""
    if isinstance(module, Upsample):
        return F.interpolate(inputs[0], scale_factor=module.factor, mode="nearest")
    if isinstance(module, Concat):
        return torch.cat(inputs, 1)
    if isinstance(module, Add):
        return inputs[0] + inputs[1]
    if isinstance(module, Slice):
        return inputs[0][:, module.start : module.stop]
    if isinstance(module, ZeroPad):
        return F.pad(inputs[0], module.padding)
    if isinstance(module, LinearConv):
        how = (module.stride, module.padding, module.dilation, module.groups)
        return F.conv2d(inputs[0], module.weight, module.bias, *how)
    assert isinstance(module, AvgPool)
    return module.pool(inputs[0])


def dyadic(*shape: int, low: int = -8, high: int = 8, over: int = 8) -> Tensor:
    """Random multiples of 1 / over in [low / over, high / over]; sums of their products are exact in float32."""
    return torch.randint(low, high + 1, shape).float() / over


def spiking_conv(channels_in: int, channels: int, *, k: int = 3, stride: int = 1, **how: object) -> SpikingConv:
    """A layer with dyadic weights, bias and thresholds that neither stays silent nor fires all the time."""
    theta = torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (channels,))]
    weight, bias = dyadic(channels, channels_in, k, k, low=-3, high=4), dyadic(channels, low=-2, high=4)
    return SpikingConv(weight, bias, theta, stride=(stride, stride), padding=(k // 2, k // 2), **how)  # type: ignore[arg-type]


def readout(channels_in: int, channels: int = 2) -> Readout:
    return Readout(dyadic(channels, channels_in, 1, 1), dyadic(channels), stride=(1, 1), padding=(0, 0))


def branching_network(delays: tuple[int, int, int, int] = (0, 0, 0, 0), neuron: str = "if") -> SpikingNetwork:
    """stem -> {skip, down -> up}: branches of different depth meet in a concatenation, and again in a sum."""
    stem, skip, down, deep = (
        spiking_conv(cin, 4, stride=stride, neuron=neuron, delay=delay)
        for cin, stride, delay in zip((3, 4, 4, 4), (1, 1, 2, 1), delays, strict=True)
    )
    nodes = [
        Node("stem", (IMAGE,), stem),
        Node("skip", ("stem",), skip),
        Node("down", ("stem",), down),
        Node("deep", ("down",), deep),
        Node("up", ("deep",), Upsample(2)),
        Node("concat", ("stem", "up"), Concat()),
        Node("sum", ("skip", "up"), Add()),
        Node("pool", ("concat",), AvgPool(torch.nn.AvgPool2d(2))),
        Node("box", ("sum",), readout(4)),
        Node("class", ("pool",), readout(8)),
    ]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 8)


def random_network(
    seed: int, *, delays: bool, signed: bool, more: tuple[str, ...] = ()
) -> tuple[SpikingNetwork, Tensor]:
    """A random graph without dead ends on a small odd image, and two such images.

    ``more`` names further operations: "max", "slice", "pad", "analog". Every second asymmetric layer is a linear one.
    """
    torch.manual_seed(seed)
    chance = random.Random(seed)
    images = dyadic(2, 3, chance.choice([5, 7, 9]), chance.choice([6, 11]), low=0)
    shapes: dict[str, tuple[int, int, int]] = {IMAGE: (3, *images.shape[2:])}  # type: ignore[dict-item]
    nodes: list[Node] = []

    def add(inputs: tuple[str, ...], module: torch.nn.Module, shape: tuple[int, int, int]) -> None:
        name = f"layer.{len(nodes)}"
        nodes.append(Node(name, inputs, module))
        shapes[name] = shape

    for _ in range(chance.randint(4, 9)):
        source = chance.choice(list(shapes)[-3:])
        channels, height, width = shapes[source]
        kind = chance.choice(["conv", "conv", "conv", "up", "pool", "join", "join", *more])
        partners = [n for n, s in shapes.items() if s[1:] == (height, width) and n != source]
        if kind == "up" and height * width <= 20:
            add((source,), Upsample(2), (channels, 2 * height, 2 * width))
        elif kind == "pool" and min(height, width) >= 4:
            add((source,), AvgPool(torch.nn.AvgPool2d(2, ceil_mode=False)), (channels, height // 2, width // 2))
        elif kind == "max" and min(height, width) >= 3:
            add((source,), MaxPool(torch.nn.MaxPool2d(3, 1, 1)), (channels, height, width))
        elif kind == "slice" and channels >= 2:
            start = chance.randint(0, channels - 2)
            add((source,), Slice(start, channels), (channels - start, height, width))
        elif kind == "analog":
            linear = spiking_conv(channels, channels, k=3)
            add(
                (source,),
                LinearConv(linear.weight.data, linear.bias.data, stride=(1, 1), padding=(1, 1)),
                shapes[source],
            )
        elif kind == "pad":
            add((source,), ZeroPad((0, 1, 0, 0)), (channels, height, width + 1))
        elif kind == "join" and partners:
            partner = chance.choice(partners)
            if shapes[partner] == shapes[source] and chance.random() < 0.5:
                add((partner, source), Add(), shapes[source])
            else:
                add((partner, source), Concat(), (shapes[partner][0] + channels, height, width))
        else:
            drawn = chance.random() if signed else 1.0
            neuron = "signed" if drawn < 0.45 else "asymmetric" if drawn < 0.7 else "if"
            k, stride, made = chance.choice([1, 3]), chance.choice([1, 1, 2]), chance.choice([2, 4])
            layer = spiking_conv(
                channels,
                made,
                k=k,
                stride=stride,
                neuron=neuron,
                slope=(0.5, 1.0)[len(nodes) % 2] if neuron == "asymmetric" else 0.0,
                delay=chance.choice([0, 1, 2]) if delays else 0,
            )
            shape = (made, (height - 1) // stride + 1, (width - 1) // stride + 1)
            if chance.random() < 0.3:  # as after calibration, per channel or per neuron
                u0 = dyadic(*(shape if chance.random() < 0.5 else shape[:1]), low=-8, high=16, over=16)
                layer.u0 = torch.nn.Parameter(u0)
            add((source,), layer, shape)
    first, last = list(shapes)[1], list(shapes)[-1]
    add((last,), readout(shapes[last][0]), shapes[last])
    add((first,), readout(shapes[first][0]), shapes[first])
    box, kind = nodes[-2].name, nodes[-1].name
    read = {box, kind}
    for node in reversed(nodes):
        read.update(node.inputs if node.name in read else ())
    return SpikingNetwork([n for n in nodes if n.name in read], [box], [kind], torch.tensor([1.0]), 8), images


def rate_of_constant_input(x: Tensor, theta: Tensor, T: int, slope: float = 0.0) -> Tensor:
    """Spike count of a neuron with u[0] = theta / 2 after T steps of constant input x (exact in exact arithmetic).

    clip(floor((T x + theta / 2) / theta), 0, T): the QC activation's level. An asymmetric neuron (``slope``) also fires
    n = clip(floor(-slope (T x + theta / 2) / theta), 0, T) negative spikes; as it starts at theta / 2, on the other
    side, and fires once a step, n is at most T - 1 unless x + theta / 2 fires in the first step.
    """
    charge, first = (T * x + theta / 2) / theta, (x + theta / 2) / theta
    below = torch.minimum(torch.floor(-slope * charge), torch.floor(-slope * first) + (T - 1))
    return torch.floor(charge).clamp(0, T) - below.clamp(0, T)

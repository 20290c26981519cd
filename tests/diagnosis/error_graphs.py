"""Small networks with numbers that float32 holds exactly, and their trains stepped through without the simulator."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import broadcast
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, SpikeOp, Upsample


def dyadic(*shape: int, low: int = -8, high: int = 8, over: int = 8) -> Tensor:
    """Random multiples of 1 / over in [low / over, high / over]."""
    return torch.randint(low, high + 1, shape).float() / over


def spiking(channels_in: int, channels: int, *, k: int = 3, stride: int = 1, **how: Any) -> SpikingConv:
    theta = torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (channels,))]
    weight, bias = dyadic(channels, channels_in, k, k, low=-3, high=4), dyadic(channels, low=-2, high=4)
    return SpikingConv(weight, bias, theta, stride=(stride, stride), padding=(k // 2, k // 2), **how)


def reading(channels_in: int, channels: int) -> Readout:
    return Readout(dyadic(channels, channels_in, 1, 1), dyadic(channels), stride=(1, 1), padding=(0, 0))


def branching(neuron: str = "if", delay: int = 0, T: int = 4, pool: str = "count") -> SpikingNetwork:
    """A residual add, a concatenation, upsampling, average and maximum; the last delayed branch is the deeper one.

    ``mixed`` is signed IF with a linear layer that spikes ("same") and one that is an analog current ("current").
    """
    mixed = neuron == "mixed"
    how: dict[str, Any] = {"neuron": "signed" if mixed else neuron, "delay": delay}
    how["slope"] = 0.25 if neuron == "asymmetric" else 0.0
    linear = {**how, "neuron": "asymmetric", "slope": 1.0} if mixed else how
    current = LinearConv(dyadic(4, 4, 1, 1), dyadic(4), stride=(1, 1), padding=(0, 0)) if mixed else None
    nodes = [
        Node("stem", (IMAGE,), spiking(3, 4, stride=2, **how)),
        Node("same", ("stem",), spiking(4, 4, **linear)),
        Node("add", ("stem", "same"), Add()),
        Node("pool", ("add",), AvgPool(nn.AvgPool2d(2))),
        Node("deep", ("pool",), spiking(4, 4, **how)),
        Node("up", ("deep",), Upsample(2)),
        Node("max", ("stem",), MaxPool(nn.MaxPool2d(3, 1, 1), pool)),  # type: ignore[arg-type]
        *([Node("current", ("up",), current)] if current is not None else []),
        Node("joined", ("current" if mixed else "up", "max"), Concat()),
        Node("last", ("joined",), spiking(8, 4, k=1, **how)),
        Node("box", ("last",), reading(4, 8)),
        Node("class", ("joined",), reading(8, 2)),
    ]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([2.0]), T).eval()


def sample_images(count: int = 3, side: int = 8) -> Tensor:
    return dyadic(count, 3, side, side, low=0)


@torch.no_grad()
def changed(network: SpikingNetwork, what: tuple[str, ...] = ("weight", "bias")) -> SpikingNetwork:
    """A copy with other numbers, as training or calibration could leave them."""
    made = copy.deepcopy(network)
    for node in made.nodes:
        for name in what:
            value = getattr(node.module, name, None)
            if isinstance(value, nn.Parameter):
                value.add_(dyadic(*value.shape, low=-1, high=1))
    return made


@torch.no_grad()
def stepped(network: SpikingNetwork, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Whole windows ``[T, N, C, H, W]`` that nodes send, and u[T] of every layer."""
    T = network.T
    sent, potentials = {IMAGE: images.expand(T, *images.shape)}, {}
    for node in network.nodes:
        module, source = node.module, sent[node.inputs[0]]
        if isinstance(module, SpikingConv):
            v = module.potential(source)
            v = torch.cat([v, v.new_zeros((module.delay, *v.shape[1:]))])
            state = module.initial_state(v.shape[1:])
            sent[node.name] = module.run(v, state) * broadcast(module.theta)
            potentials[node.name] = state.u
        elif isinstance(module, SpikeOp):
            sent[node.name] = module([sent[name] for name in node.inputs])
    return sent, potentials

"""Small networks to calibrate, and what their layers send, computed whole and without the observer's code."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikedet.calibration.observer import Observer
from spikedet.calibration.store import ByteStore
from spikedet.config import CalibrateConfig
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.layers import broadcast
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, SpikeOp, Upsample
from spikedet.snn.surrogate import fire

PLENTY = 2.0**30


def dyadic(*shape: int, low: int = -8, high: int = 8, over: int = 8) -> Tensor:
    """Random multiples of 1 / over in [low / over, high / over]; sums of their products are exact in float32."""
    return torch.randint(low, high + 1, shape).float() / over


def spiking(channels_in: int, channels: int, *, k: int = 3, stride: int = 1, **how: Any) -> SpikingConv:
    """A layer with dyadic numbers that neither stays silent nor fires all the time."""
    theta = torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (channels,))]
    weight, bias = dyadic(channels, channels_in, k, k, low=-3, high=4), dyadic(channels, low=-2, high=4)
    return SpikingConv(weight, bias, theta, stride=(stride, stride), padding=(k // 2, k // 2), **how)


def current(channels: int) -> LinearConv:
    return LinearConv(dyadic(channels, channels, 1, 1), dyadic(channels), stride=(1, 1), padding=(0, 0))


def reading(channels_in: int, channels: int = 2) -> Readout:
    return Readout(dyadic(channels, channels_in, 1, 1), dyadic(channels), stride=(1, 1), padding=(0, 0))


def branching(neuron: str = "if", delay: int = 0, T: int = 8, *, image: bool = True) -> SpikingNetwork:
    """The image's average beside a stem; stem -> {skip, down -> up}, joined in a concatenation and in a sum.

    Without the ``image`` in the concatenation the whole network has a form on bits. ``mixed`` is signed IF with a
    linear layer that spikes ("skip") and one that is an analog current ("current").
    """
    mixed = neuron == "mixed"
    how: dict[str, Any] = {"neuron": "signed" if mixed else neuron, "delay": delay}
    linear = {**how, "neuron": "asymmetric", "slope": 1.0} if mixed else how
    nodes = [
        Node("stem", (IMAGE,), spiking(3, 4, stride=2, **how)),
        Node("small", (IMAGE,), AvgPool(nn.AvgPool2d(2))),
        Node("skip", ("stem",), spiking(4, 4, **linear)),
        Node("down", ("stem",), spiking(4, 3, stride=2, **how)),
        Node("deep", ("down",), spiking(3, 4, k=1, **how)),
        Node("up", ("deep",), Upsample(2)),
        *([Node("current", ("up",), current(4))] if mixed else []),
        Node("sum", ("skip", "current" if mixed else "up"), Add()),
        Node("joined", ("sum", "stem", "small") if image else ("sum", "stem"), Concat()),
        Node("last", ("joined",), spiking(11 if image else 8, 4, **how)),
        Node("box", ("sum",), reading(4)),
        Node("class", ("last",), reading(4, 3)),
    ]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([2.0]), T)


def straight(layers: int, T: int = 4) -> SpikingNetwork:
    """So many layers one after another, then the output layers."""
    names = [f"layer.{i}" for i in range(layers)]
    sources = [IMAGE, *names[:-1]]
    nodes = [Node(n, (s,), spiking(3, 3)) for n, s in zip(names, sources, strict=True)]
    nodes += [Node("box", (names[-1],), reading(3)), Node("class", (names[-1],), reading(3))]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), T)


def sample_images(count: int = 5, side: int = 8) -> Tensor:
    return dyadic(count, 3, side, side, low=0)


@torch.no_grad()
def moved(network: SpikingNetwork) -> SpikingNetwork:
    """A copy with other weights and initial potentials, as calibration could leave them."""
    made = copy.deepcopy(network)
    for node in made.nodes:
        if isinstance(node.module, (SpikingConv, Readout)):
            node.module.weight.add_(dyadic(*node.module.weight.shape, low=-1, high=1))
        if isinstance(node.module, SpikingConv):
            node.module.u0.add_(dyadic(*node.module.u0.shape, low=-4, high=4))
    return made


@torch.no_grad()
def trains_of(network: SpikingNetwork, images: Tensor) -> dict[str, Tensor]:
    """The whole window ``[T, N, C, H, W]`` that each node sends, all images at once."""
    sent = {IMAGE: images.expand(network.T, *images.shape)}
    for node in network.nodes:
        module = node.module
        if isinstance(module, SpikingConv):
            theta, signed = broadcast(module.theta), module.neuron == "signed"
            v = module.potential(sent[node.inputs[0]])
            lower = None if module.lower is None else broadcast(module.lower)
            spikes = fire(v, broadcast(module.u0), theta, signed=signed, lower=lower, delay=module.delay)
            sent[node.name] = theta * spikes
        elif isinstance(module, SpikeOp):
            sent[node.name] = module([sent[name] for name in node.inputs])
    return sent


def batches(count: int, size: int | None = None) -> list[list[int]]:
    """The images in batches of this size, or in one."""
    size = size or count
    return [list(range(i, min(i + size, count))) for i in range(0, count, size)]


def visits(observer: Observer, parts: Sequence[Sequence[int]]) -> Iterator[Node]:
    """Every node with parameters when its turn has come, as calibration goes; it is recorded or released afterwards."""
    for node in observer.network.nodes:
        if isinstance(node.module, SpikeOp):
            continue
        if isinstance(node.module, SpikingConv):
            observer.observe(node, parts)
            yield node
            observer.record(node, parts)
        else:
            yield node
            observer.release(node)


def at(network: SpikingNetwork, name: str, images: Tensor, reference: SpikingNetwork | None = None) -> Observer:
    """An observer that has come to node ``name`` and left what is before it as it is."""
    store = ByteStore(PLENTY)
    observer = Observer(reference or network, network, images, store)
    for node in visits(observer, batches(len(images))):
        if node.name == name:
            return observer
    raise KeyError(name)


def node_of(network: SpikingNetwork, name: str) -> Node:
    return next(node for node in network.nodes if node.name == name)


def settings(**changes: Any) -> CalibrateConfig:
    return CalibrateConfig(checkpoint="", **{"epochs": 3, "batch": 4, "lr": 1e-3, "crop": 3, **changes})

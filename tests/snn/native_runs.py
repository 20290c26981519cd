"""The native backend with its spikes written down, and networks that it can run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import torch
from snn_reference import Reference, random_network
from torch import Tensor

from spikedet.config import Mode
from spikedet.kernels.library import NativeUnavailable
from spikedet.snn import Backend, Node, SpikingConv, SpikingNetwork, simulate
from spikedet.snn.backends.native.backend import NativeBackend, supported_channels
from spikedet.snn.packed_operations import network_channels
from spikedet.snn.packing import sums, unpack
from spikedet.snn.simulator import Readings

WHOLE = 1000
"""A chunk longer than any run."""


class Watched(NativeBackend):
    """Writes down what every layer fires, as spikes in {-1, 0, 1}."""

    def __init__(self, network: SpikingNetwork, mode: Mode = "exact") -> None:
        super().__init__(network, mode)
        self.fired: dict[str, list[Tensor]] = {}

    def fire(
        self, node: Node, layer: SpikingConv, state: Any, piece: Tensor | None, steps: int, tail: int
    ) -> tuple[Tensor, Tensor]:
        bits, counts = super().fire(node, layer, state, piece, steps, tail)
        spikes = unpack(bits, torch.ones(len(layer.theta)), negative=layer.negative)
        self.fired.setdefault(node.name, []).append(spikes)
        return bits, counts

    def take(self) -> dict[str, Tensor]:
        """Spikes ``[steps, N, C, H, W]`` by layer since the last call."""
        taken = {name: torch.cat(pieces) for name, pieces in self.fired.items()}
        self.fired.clear()
        return taken


def watched_run(backend: Watched, images: Tensor, t: list[int], chunk: int) -> tuple[list[Readings], dict[str, Tensor]]:
    """One simulation and the spikes of its layers."""
    readings = list(simulate(backend.network, images, t, chunk=chunk, backend=backend))
    return readings, backend.take()


def sent(backend: Backend, images: Tensor, T: int, chunk: int = 3) -> tuple[Readings, dict[str, Tensor]]:
    """The last reading, and the train ``[T, N, C, H, W]`` of every layer and max-pooling, in activation units."""
    pieces: dict[str, list[Tensor]] = {}

    def watch(node: Node, piece: Tensor) -> None:
        if isinstance(backend, NativeBackend):
            piece = sums(piece, backend.channels[node.name]).movedim(-1, 2)
        pieces.setdefault(node.name, []).append(piece.clone())

    (reading,) = simulate(backend.network, images, [T], chunk=chunk, backend=backend, watch=watch)
    return reading, {name: torch.cat(parts) for name, parts in pieces.items()}


def assert_same_trains(one: Backend, other: Backend, images: Tensor, T: int) -> None:
    """Not one spike differs; output layers to 1e-6, as a mean over T steps is a division. No layer is silent."""
    (reading, trains), (expected, others) = sent(one, images, T), sent(other, images, T)
    assert trains.keys() == others.keys()
    assert all(torch.equal(train, others[name]) for name, train in trains.items())
    assert all(train.any() for train in trains.values())
    assert torch.equal(reading.spikes, expected.spikes)
    for name, logits in reading.maps.items():
        torch.testing.assert_close(logits, expected.maps[name], rtol=0, atol=1e-6)


def is_supported(network: SpikingNetwork) -> bool:
    """Whether all of a network has a form on packed spikes."""
    try:
        supported_channels(network)
    except NativeUnavailable:
        return False
    return True


def supported_networks(
    number: int, *, delays: bool, signed: bool, more: tuple[str, ...] = ()
) -> Iterator[tuple[SpikingNetwork, Tensor]]:
    """The first random networks, with images, that have a form on bits."""
    drawn = (random_network(seed, delays=delays, signed=signed, more=more) for seed in count())
    return islice(((network, images) for network, images in drawn if is_supported(network)), number)


def differing_spikes(fired: dict[str, Tensor], slow: Reference) -> int:
    """Over all layers; the slow simulator also ends the windows that no read-out waits for."""
    assert fired.keys() == slow.spikes.keys()
    return sum(int((spikes != slow.spikes[name][: len(spikes)]).sum()) for name, spikes in fired.items())


def assert_readings(readings: list[Readings], slow: Reference) -> None:
    """Spike counts are equal; output layers to 1e-6, as a mean over t steps is a division."""
    for reading in readings:
        assert torch.equal(reading.spikes, slow.count(reading.t))
        for name, logits in reading.maps.items():
            torch.testing.assert_close(logits, slow.reading(name, reading.t), rtol=0, atol=1e-6)


@torch.no_grad()
def eight_bit_(network: SpikingNetwork) -> bool:
    """Give every layer weights that 8 bits hold exactly; False if one logical channel is worth two different spikes."""
    channels = network_channels(network)
    for node, layer in network.spiking():
        inputs = channels.get(node.inputs[0])
        if inputs is None:
            continue  # a constant input is convolved with the weights as they are
        worth = torch.zeros(inputs.logical).scatter_reduce(0, inputs.index, inputs.value.abs(), "amax")
        used = inputs.value != 0
        if not torch.equal(inputs.value.abs()[used], worth[inputs.index][used]):
            return False
        levels = torch.randint(-127, 128, layer.weight.shape).float()
        levels[:, 0, 0, 0] = 127  # the scale is the largest weight's share: 1 / 64
        layer.weight.copy_(levels / 64 / worth.view(1, -1, 1, 1))
    return True

"""What a simulation will need, said before it starts: bytes above the loaded, idle process.

Exact where sizes follow from shapes; the length of the native backend's lists follows from an assumed firing rate, and
what the convolution library needs for itself is taken as one more copy of a layer's input and output. Python's
numbers do not overflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from spikedet.common.errors import SpikedetError
from spikedet.common.memory import free_bytes
from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.layers import Readout, SpikingConv
from spikedet.snn.network import Node, SpikingNetwork
from spikedet.snn.operations import LinearConv, MaxPool

FLOAT = 4
FIRING_RATE = 0.15
"""Spikes per neuron and step, as trained detectors have them."""
BASE = 3 * 2**20
"""Code and tables that the first simulation brings into memory."""
DENSE_BELOW = 64
"""Input channels below which the kernels' dense way is the cheaper one at usual rates."""
UNCHECKED = 2**28
"""Bytes that are taken without a look at what is free."""

Shapes = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Need:
    """Bytes at the peak of a simulation.

    Attributes:
        states: held from the beginning to the end.
        chunk: for the steps that are simulated together.
        largest: name of the node that needs most.
        largest_bytes: its part of both.
    """

    states: int
    chunk: int
    largest: str
    largest_bytes: int


def estimate_bytes(backend: Backend, image_hw: tuple[int, int], batch: int, chunk: int | None = None) -> int:
    """Peak of a simulation of any length.

    Args:
        backend: made for the network.
        image_hw: height and width of the images.
        batch: images simulated together.
        chunk: time steps simulated together; the backend's own unless given.
    """
    found = need(backend, image_hw, batch, chunk or backend.chunk(batch), FIRING_RATE)
    return found.states + found.chunk


def require_memory(
    backend: Backend, image_hw: tuple[int, int], batch: int, chunk: int, *, running: bool = False
) -> None:
    """Refuse what cannot fit, before it is taken; every neuron is assumed to fire.

    Args:
        backend, image_hw, batch, chunk: see ``estimate_bytes``.
        running: the states are there already.

    Raises:
        SpikedetError: more is needed than is free; says how much, for which layer, and what to do.
    """
    found = backend.needs.get((image_hw, batch, chunk)) or need(backend, image_hw, batch, chunk, 1.0)
    backend.needs[image_hw, batch, chunk] = found
    wanted = found.chunk + (0 if running else found.states)
    if wanted < UNCHECKED:
        return
    if wanted > (free := free_bytes(backend.network.device)):
        raise SpikedetError(
            f"simulating {batch} images of {image_hw[0]} x {image_hw[1]}, {chunk} time steps together, needs "
            f"{wanted / 2**30:.1f} GiB ({found.largest}: {found.largest_bytes / 2**30:.1f} GiB), but "
            f"{free / 2**30:.1f} GiB are free; use a smaller --batch, chunk or image size"
        )


def need(backend: Backend, image_hw: tuple[int, int], batch: int, chunk: int, firing_rate: float) -> Need:
    """Both parts of ``estimate_bytes``."""
    network, shapes, maps = backend.network, backend.network.shapes(image_hw), batch * chunk
    if isinstance(backend, NativeBackend):
        trains = {name: shapes[name][1] * shapes[name][2] * c.bytes for name, c in backend.channels.items()}
        own = _scratch(backend, shapes, maps, firing_rate)
    else:
        trains = {name: FLOAT * math.prod(shape) for name, shape in shapes.items()}
        own = {node.name: (_potentials(node, network, shapes, maps),) for node in network.nodes}
    own = {n.name: (*own[n.name], _copies(n, network, shapes, batch)) for n in network.nodes}
    states = _states(network, shapes, batch)
    whole = {n.name: states.get(n.name, 0) + maps * trains.get(n.name, 0) + sum(own[n.name]) for n in network.nodes}
    largest = max(whole, key=lambda name: whole[name])
    scratch = sum(max(kind) for kind in zip(*own.values(), strict=True))
    held = scratch + maps * _most_trains(network, trains)
    return Need(BASE + sum(states.values()), held, largest, whole[largest])


def _states(network: SpikingNetwork, shapes: Shapes, batch: int) -> dict[str, int]:
    """Potentials, signed counts or currents, the potential of a constant input with the copies made on the way to it,
    and what max-pooling remembers (2 bytes natively, taken as 4), and sums of what is read out; by node."""
    pooled = [node for node in network.nodes if isinstance(node.module, (MaxPool, Readout))]
    states = {n.name: FLOAT * batch * (math.prod(shapes[n.inputs[0]]) + math.prod(shapes[n.name])) for n in pooled}
    for node, layer in network.spiking():
        copies = 1 + (layer.neuron in ("signed", "clif")) + 3 * network.is_constant(node.inputs[0])
        copies += 2 * (network.group > 0)
        states[node.name] = FLOAT * batch * math.prod(shapes[node.name]) * copies
    return states


def _most_trains(network: SpikingNetwork, trains: dict[str, int]) -> int:
    """Most bytes of one map's trains held at a time; a train goes when its last reader has read it."""
    last_reader = {name: node.name for node in network.nodes for name in node.inputs}
    held = most = 0
    for node in network.nodes:
        if network.is_constant(node.name) or isinstance(node.module, Readout):
            continue
        held += trains[node.name]
        most = max(most, held)
        held -= sum(trains[n] for n in {*node.inputs} if last_reader[n] == node.name and not network.is_constant(n))
    return most


def _copies(node: Node, network: SpikingNetwork, shapes: Shapes, batch: int) -> int:
    """Copies of the input of an output layer, and of a constant input."""
    if isinstance(node.module, Readout):
        return FLOAT * batch * 3 * math.prod(shapes[node.inputs[0]])
    if network.is_constant(node.inputs[0]):
        return FLOAT * batch * 2 * sum(math.prod(shapes[name]) for name in node.inputs)
    return 0


def _scratch(backend: NativeBackend, shapes: Shapes, maps: int, firing_rate: float) -> dict[str, tuple[int, ...]]:
    """Copies of a dense convolution, lists of spikes, and an input with a byte for each bit; by node.

    A call's lists are cut, and the memory of the longest is kept for the next.
    """
    found: dict[str, tuple[int, ...]] = {node.name: (0, 0, 0) for node in backend.network.nodes}
    for node in backend.network.nodes:
        if node.inputs[0] not in backend.channels or isinstance(node.module, Readout):
            continue  # constant, or read out
        inputs, (channels, height, width) = backend.channels[node.inputs[0]], shapes[node.inputs[0]]
        if inputs.summed or backend.channels[node.name].summed:
            copies = 2 * channels * height * width + 2 * math.prod(shapes[node.name])
            found[node.name] = (maps * FLOAT * copies, 0, 0)
        elif layer := backend.layers.get(node.name):
            listed, bits = min(maps, layer.maps_at_once((height, width))), 8 * inputs.bytes
            if layer.has_dense and bits < DENSE_BELOW:
                found[node.name] = (0, 0, listed * height * (width + 2) * bits)
            else:
                spikes = int(height * (width + 1) + firing_rate * height * width * bits)
                found[node.name] = (0, listed * FLOAT * spikes, 0)
    return found


def _potentials(node: Node, network: SpikingNetwork, shapes: Shapes, maps: int) -> int:
    """What a dense convolution has beside its train: potentials, and copies of weights, input and output."""
    if not isinstance(node.module, (SpikingConv, LinearConv)) or network.is_constant(node.inputs[0]):
        return 0
    output, source = math.prod(shapes[node.name]), math.prod(shapes[node.inputs[0]])
    return FLOAT * (maps * (3 * output + 2 * source) + node.module.weight.numel())

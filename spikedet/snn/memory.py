"""What a simulation will need, said before it starts: bytes above the loaded, idle process.

Exact where sizes follow from shapes; the length of the native backend's lists follows from an assumed firing rate, and
what the convolution library needs for itself is taken as one more copy of a layer's input and output.
"""

from __future__ import annotations

import math

from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.layers import Readout, SpikingConv
from spikedet.snn.network import Node, SpikingNetwork
from spikedet.snn.operations import MaxPool

FLOAT = 4
FIRING_RATE = 0.15
"""Spikes per neuron and step, as trained detectors have them."""
BASE = 3 * 2**20
"""Code and tables that the first simulation brings into memory."""
DENSE_BELOW = 64
"""Input channels below which the kernels' dense way is the cheaper one at usual rates."""

Shapes = dict[str, tuple[int, int, int]]


def estimate_bytes(backend: Backend, image_hw: tuple[int, int], batch: int, chunk: int | None = None) -> int:
    """Peak of a simulation of any length.

    Args:
        backend: made for the network.
        image_hw: height and width of the images.
        batch: images simulated together.
        chunk: time steps simulated together; the backend's own unless given.
    """
    shapes = backend.network.shapes(image_hw)
    maps = batch * (chunk or backend.chunk(batch))
    if isinstance(backend, NativeBackend):
        trains = {name: shapes[name][1] * shapes[name][2] * c.bytes for name, c in backend.channels.items()}
        own = _scratch(backend, shapes, maps)
    else:
        trains = {name: FLOAT * math.prod(shape) for name, shape in shapes.items()}
        own = max(_potentials(node, backend.network, shapes, maps) for node in backend.network.nodes)
    return BASE + _states(backend.network, shapes, batch) + own + maps * _most_trains(backend.network, trains)


def _states(network: SpikingNetwork, shapes: Shapes, batch: int) -> int:
    """Potentials, signed counts, the potential of a constant input with the copies made on the way to it, and what
    max-pooling remembers (2 bytes natively, taken as 4)."""
    pooled = [node for node in network.nodes if isinstance(node.module, MaxPool)]
    total = sum(FLOAT * batch * (math.prod(shapes[n.inputs[0]]) + math.prod(shapes[n.name])) for n in pooled)
    for node, layer in network.spiking():
        copies = 1 + (layer.neuron == "signed") + 3 * network.is_constant(node.inputs[0])
        total += FLOAT * batch * math.prod(shapes[node.name]) * copies
    return total


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


def _scratch(backend: NativeBackend, shapes: Shapes, maps: int) -> int:
    """The longest list of spikes or copies of a dense convolution, and the widest input with a byte for each bit."""
    listed = spread = 0
    for node, _ in backend.network.spiking():
        if backend.network.is_constant(node.inputs[0]):
            continue
        channels, height, width = shapes[node.inputs[0]]
        if backend.channels[node.inputs[0]].summed:
            listed = max(listed, FLOAT * (2 * channels * height * width + 2 * math.prod(shapes[node.name])))
            continue
        bits = 8 * backend.channels[node.inputs[0]].bytes
        if backend.layers[node.name].has_dense and bits < DENSE_BELOW:
            spread = max(spread, height * (width + 2) * bits)
        else:
            listed = max(listed, FLOAT * int(height * (width + 1) + FIRING_RATE * height * width * bits))
    return maps * (listed + spread)


def _potentials(node: Node, network: SpikingNetwork, shapes: Shapes, maps: int) -> int:
    """What a dense layer has beside its train: potentials, and copies of weights, input and output."""
    if not isinstance(node.module, SpikingConv) or network.is_constant(node.inputs[0]):
        return 0
    output, source = math.prod(shapes[node.name]), math.prod(shapes[node.inputs[0]])
    weights = max(layer.weight.numel() for _, layer in network.spiking())
    return FLOAT * (maps * (3 * output + 2 * source) + weights)

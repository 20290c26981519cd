"""Multi-step, layer-by-layer simulation of a converted network, in chunks of time with explicit state.

All layers run through a chunk of global steps before the next chunk begins, so memory grows with the chunk and not with
T. One clock rules: a layer with firing delay k starts to fire k steps after its input window begins, branches that meet
are aligned by buffering the earlier one, and inputs past their own window are zero. A chunk of one step is the
step-by-step mode; any chunking gives the same spikes.

The constant image is convolved once. A read-out is linear, so it runs once per requested time step, on mean spikes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spikedet.config import DEFAULT_CHUNK
from spikedet.snn.layers import NeuronState, Readout, SpikeOp, SpikingConv, broadcast
from spikedet.snn.network import IMAGE, Node, SpikingNetwork


@dataclass(frozen=True)
class Readings:
    """What a network says after t steps.

    Attributes:
        t: steps of the read-outs' windows that have been averaged.
        maps: read-out name -> mean input potential ``[N, C, H, W]`` (logits).
        spikes: ``[N]``, spikes (of either sign) of all layers in the first t steps of their windows.
    """

    t: int
    maps: dict[str, Tensor]
    spikes: Tensor


@dataclass
class _Train:
    """Steps ``[first, first + len(values))`` of a node's output window that some reader still needs."""

    first: int
    values: Tensor


@dataclass
class _Sum:
    """A read-out's running sum of input steps."""

    total: Tensor | None = None
    steps: int = 0
    maps: dict[int, Tensor] = field(default_factory=dict)


class Simulation:
    """One run on one batch of pictures; holds every membrane state, the network holds none.

    Args:
        network: converted network.
        images: ``[N, 3, H, W]`` in [0, 1], constant over time.
        T: length of every layer's window.
        readouts: time steps t <= T to read out.
    """

    def __init__(self, network: SpikingNetwork, images: Tensor, T: int, readouts: Iterable[int]) -> None:
        self.network, self.T = network, T
        self.readouts = sorted(set(readouts))
        if not self.readouts or self.readouts[0] < 1 or self.readouts[-1] > T:
            raise ValueError(f"read-outs must lie in 1..T = {T}, got {self.readouts}")
        self.images = images
        self.clock = 0
        self.end = network.latency(self.readouts[-1])
        self.spike_counts = torch.zeros(T, len(images), dtype=torch.float64)
        self._readers = network.consumers()
        self._trains: dict[str, _Train] = {}
        self._states: dict[str, NeuronState] = {}
        self._constants: dict[str, Tensor] = {}
        self._sums = {n.name: _Sum() for n in network.nodes if isinstance(n.module, Readout)}
        self._done: set[int] = set()

    @torch.no_grad()
    def advance(self, steps: int) -> list[Readings]:
        """Simulate that many more global steps; returns the read-outs that became complete, earliest first."""
        stop = min(self.clock + steps, self.end)
        for node in self.network.nodes:
            begin = max(self.clock - self.network.starts[node.name], 0)
            end = stop - self.network.starts[node.name]
            if end > begin:
                self._run(node, begin, end)
        self.clock = stop
        self._forget()
        ready = [t for t in self.readouts if t not in self._done and all(t in s.maps for s in self._sums.values())]
        self._done.update(ready)
        return [self._readings(t) for t in ready]

    def _run(self, node: Node, begin: int, end: int) -> None:
        """Steps ``begin..end`` of the node's own clock, which starts with its input window."""
        module = node.module
        if isinstance(module, SpikingConv):
            self._fire(node, module, begin, min(end, self.T + module.delay))
            return
        end = min(end, self.T)
        if end <= begin or self.network.is_constant(node.name):
            return
        if isinstance(module, SpikeOp):
            self._emit(node.name, module([self._steps(name, begin, end) for name in node.inputs]))
        else:
            assert isinstance(module, Readout)
            self._read(module, self._sums[node.name], self._steps(node.inputs[0], begin, end))

    def _fire(self, node: Node, layer: SpikingConv, begin: int, end: int) -> None:
        if end <= begin:
            return
        v = self._potential(node, layer, begin, min(end, self.T))
        state = self._states.get(node.name)
        if state is None:
            state = self._states[node.name] = layer.initial_state(v.shape[1:])
        spikes = layer.run(v, state)
        past = end - max(begin, self.T)
        if past > 0:  # the window of the input is over, a delayed layer still fires
            zeros = torch.zeros((1, *v.shape[1:]), dtype=v.dtype, device=v.device).expand(past, *v.shape[1:])
            spikes = torch.cat([spikes, layer.run(zeros, state)])
        if not len(spikes):
            return
        first = max(begin - layer.delay, 0)
        self.spike_counts[first : first + len(spikes)] += spikes.abs().flatten(2).sum(2).double().cpu()
        self._emit(node.name, spikes * broadcast(layer.theta))

    def _potential(self, node: Node, layer: SpikingConv, begin: int, end: int) -> Tensor:
        name = node.inputs[0]
        if not self.network.is_constant(name):
            if end > begin:
                return layer.potential(self._steps(name, begin, end))
            state = self._states[node.name]
            return state.u.new_zeros((0, *state.u.shape))
        if node.name not in self._constants:
            self._constants[node.name] = layer.potential(self._constant(name).unsqueeze(0))
        v = self._constants[node.name]
        return v.expand(max(end - begin, 0), *v.shape[1:])

    def _read(self, module: Readout, total: _Sum, train: Tensor) -> None:
        for t in self.readouts:
            if total.steps < t <= total.steps + len(train):
                part = train[: t - total.steps].sum(0)
                total.maps[t] = module((part if total.total is None else total.total + part) / t)
        part = train.sum(0)
        total.total = part if total.total is None else total.total + part
        total.steps += len(train)

    # --- spike trains between nodes ------------------------------------------------------------------------------

    def _constant(self, name: str) -> Tensor:
        if name == IMAGE:
            return self.images
        node = next(n for n in self.network.nodes if n.name == name)
        made: Tensor = node.module([self._constant(i).unsqueeze(0) for i in node.inputs])
        return made[0]

    def _emit(self, name: str, values: Tensor) -> None:
        held = self._trains.get(name)
        if held is None:
            self._trains[name] = _Train(0, values)
        elif len(held.values):
            held.values = torch.cat([held.values, values])
        else:
            held.values = values

    def _steps(self, name: str, begin: int, end: int) -> Tensor:
        """Steps ``begin..end`` of a node's output window."""
        if self.network.is_constant(name):
            constant = self._constant(name)
            return constant.expand(end - begin, *constant.shape)
        train = self._trains[name]
        return train.values[begin - train.first : end - train.first]

    def _forget(self) -> None:
        """Drop what every reader has read."""
        for name, train in self._trains.items():
            needed = [max(self.clock - self.network.starts[reader.name], 0) for reader in self._readers[name]]
            drop = min(min(needed, default=self.T) - train.first, len(train.values))
            if drop > 0:
                # A slice would keep the whole storage alive.
                rest = train.values[drop:]
                train.values = rest.clone() if len(rest) else rest.new_zeros((0, *rest.shape[1:]))
                train.first += drop

    def _readings(self, t: int) -> Readings:
        maps = {name: total.maps.pop(t) for name, total in self._sums.items()}
        return Readings(t, maps, self.spike_counts[:t].sum(0))


def simulate(
    network: SpikingNetwork,
    images: Tensor,
    readouts: Iterable[int],
    *,
    T: int | None = None,
    chunk: int = DEFAULT_CHUNK,
) -> Iterator[Readings]:
    """Run a network to its last read-out, yielding each as soon as it is there.

    Args:
        network: converted network.
        images: ``[N, 3, H, W]``.
        readouts: time steps to read out.
        T: window length; the largest read-out unless given (without firing delay a longer window changes nothing).
        chunk: global steps simulated together.
    """
    readouts = sorted(set(readouts))
    run = Simulation(network, images, T or max(readouts, default=0), readouts)
    while run.clock < run.end:
        yield from run.advance(chunk)

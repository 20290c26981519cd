"""Multi-step, layer-by-layer simulation of a converted network, in chunks of time with explicit state.

All layers run through a chunk of global steps before the next chunk begins, so memory grows with the chunk and not with
T. One clock rules: a layer with firing delay k starts to fire k steps after its input window begins, branches that meet
are aligned by buffering the earlier one, and inputs past their own window are zero. A chunk of one step is the
step-by-step mode; any chunking gives the same spikes, unless sums that torch rounds in another order move a potential
across its threshold.

Where a network has groups (SFA), neurons gather a whole group of their input before they fire: what was gathered in one
group is fired in the next, first steps first, while the next group is gathered. With u[0] the potential at rest, and
``leak`` times what the firing has left over,

    u <- u[0] + leak (u - u[0]) + gathered            at the beginning of each group

and maxima begin anew. So the spikes of one group are those of one real time step of the integers.

The constant image is convolved once. A read-out is linear, so it runs once per requested time step, on mean spikes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spikedet.config.checks import LIMITS
from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.dense import TorchBackend, float32
from spikedet.snn.layers import Readout, SpikingConv, broadcast
from spikedet.snn.memory import require_memory
from spikedet.snn.network import IMAGE, Node, SpikingNetwork
from spikedet.snn.operations import MaxPool, SpikeOp

Watch = Callable[[Node, Tensor], None]


@dataclass(frozen=True)
class Readings:
    """What a network says after t steps.

    Attributes:
        t: steps of the output layers' windows that have been averaged.
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
class _Groups:
    """States of a layer that gathers one group of its input while it fires the one before."""

    gathering: Any
    firing: Any = None


@dataclass
class _Sum:
    """A read-out's running sum of input steps."""

    total: Tensor | None = None
    steps: int = 0
    maps: dict[int, Tensor] = field(default_factory=dict)


class Simulation:
    """One run on one batch of images; holds every membrane state, the network holds none.

    Args:
        network: converted network.
        images: ``[N, 3, H, W]`` in [0, 1], constant over time.
        T: length of every layer's window.
        readouts: time steps t <= T to read out.
        backend: does the arithmetic, made for this network; dense float32 convolutions unless given.
        watch: is shown every piece of train that a spiking layer or a max-pooling sends, in the backend's own form.

    Raises:
        SpikedetError: not enough memory for the states; ``advance``: for that many steps together.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        images: Tensor,
        T: int,
        readouts: Iterable[int],
        backend: Backend | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.network, self.T, self.watch = network, T, watch
        self.backend = backend or TorchBackend(network)
        self.readouts = sorted(set(readouts))
        _, most = LIMITS["T"]
        if most < T:
            raise ValueError(f"at most {most} time steps can be simulated, got {T}")
        if not self.readouts or self.readouts[0] < 1 or self.readouts[-1] > T:
            raise ValueError(f"time steps must lie in 1..T = {T}, got {self.readouts}")
        self._hw, self._most = (images.shape[-2], images.shape[-1]), 1
        require_memory(self.backend, self._hw, len(images), 1)
        self.images = self.backend.images(images)
        self.clock = 0
        self.end = network.latency(self.readouts[-1])
        self.spike_counts = torch.zeros(T, len(images), dtype=torch.float64, device=self.images.device)
        self._readers = network.consumers()
        self._trains: dict[str, _Train] = {}
        self._states = self._initial_states()
        self._memories: dict[str, dict[str, Any]] = defaultdict(dict)
        self._positions: dict[str, int] = {}
        self._sums = {n.name: _Sum() for n in network.nodes if isinstance(n.module, Readout)}

    @torch.no_grad()
    def _initial_states(self) -> dict[str, Any]:
        """All of them at once, so that a long run needs no more memory than a short one."""
        shapes = self.network.shapes(self._hw)
        states: dict[str, Any] = {}
        for node, layer in self.network.spiking():
            (source,) = node.inputs
            if self.network.is_constant(source):
                states[node.name] = self.backend.constant_state(node, layer, self._constant(source))
            else:
                states[node.name] = self.backend.state(node, layer, len(self.images), shapes[source][1:])
        return {name: _Groups(state) for name, state in states.items()} if self.network.group else states

    @torch.no_grad()
    def advance(self, steps: int) -> list[Readings]:
        """Simulate that many more global steps; returns the readings that became complete, earliest first."""
        stop = min(self.clock + steps, self.end)
        if stop - self.clock > self._most:
            self._most = stop - self.clock
            require_memory(self.backend, self._hw, len(self.images), self._most, running=True)
        for node in self.network.nodes:
            begin = max(self.clock - self.network.starts[node.name], 0)
            end = stop - self.network.starts[node.name]
            if end > begin:
                self._run(node, begin, end)
                self._forget(node, end)
        self.clock = stop
        ready = [t for t in self.readouts if all(t in s.maps for s in self._sums.values())]
        maps = [{name: total.maps.pop(t) for name, total in self._sums.items()} for t in ready]
        return [Readings(t, found, self.spike_counts[:t].sum(0).cpu()) for t, found in zip(ready, maps, strict=True)]

    def _run(self, node: Node, begin: int, end: int) -> None:
        """Steps ``begin..end`` of the node's own clock, which starts with its input window."""
        module = node.module
        if isinstance(module, SpikingConv):
            for start, stop in self._within_groups(begin, min(end, self.T + module.delay)):
                (self._fire_group if self.network.group else self._fire)(node, module, start, stop)
            return
        end = min(end, self.T)
        if end <= begin or self.network.is_constant(node.name):
            return
        if isinstance(module, MaxPool):
            for start, stop in self._within_groups(begin, end):
                if self.network.group and start % self.network.group == 0:
                    self._memories[node.name].clear()
                self._combine(node, module, start, stop)
        elif isinstance(module, SpikeOp):
            self._combine(node, module, begin, end)
        else:
            assert isinstance(module, Readout)
            self._read(node, module, self._steps(node.inputs[0], begin, end))

    def _within_groups(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """These steps, cut where groups begin."""
        while begin < end:
            stop = min(end, begin - begin % self.network.group + self.network.group) if self.network.group else end
            yield begin, stop
            begin = stop

    def _combine(self, node: Node, module: SpikeOp, begin: int, end: int) -> None:
        pieces = [self._steps(name, begin, end) for name in node.inputs]
        made = self.backend.combine(node, module, pieces, self._memories[node.name])
        if self.watch is not None and isinstance(module, MaxPool):
            self.watch(node, made)
        self._emit(node.name, made)

    def _fire(self, node: Node, layer: SpikingConv, begin: int, end: int) -> None:
        source = node.inputs[0]
        steps = max(min(end, self.T) - begin, 0)
        tail = end - max(begin, self.T)  # the window of the input is over, a delayed layer still fires
        constant = self.network.is_constant(source)
        piece = self._steps(source, begin, begin + steps) if steps and not constant else None
        spikes, counts = self.backend.fire(node, layer, self._states[node.name], piece, steps, max(tail, 0))
        if len(spikes):
            self._sent(node, max(begin - layer.delay, 0), spikes, counts)

    def _fire_group(self, node: Node, layer: SpikingConv, begin: int, end: int) -> None:
        """Steps of one group: its input is gathered, what the group before has left in the neurons is fired."""
        states, source = self._states[node.name], node.inputs[0]
        if begin and begin % self.network.group == 0:
            before, states.firing = states.firing, states.gathering
            states.gathering = self.backend.again(node, layer, states.firing)
            if before is not None:
                left = self.backend.potential(node, layer, before) - broadcast(layer.u0)
                self.backend.potential(node, layer, states.firing).add_(left, alpha=self.network.leak)
        if begin < self.T:
            piece = None if self.network.is_constant(source) else self._steps(source, begin, end)
            self.backend.fire(node, layer, states.gathering, piece, end - begin, 0)
        if begin >= layer.delay:
            spikes, counts = self.backend.fire(node, layer, states.firing, None, 0, end - begin)
            self._sent(node, begin - layer.delay, spikes, counts)

    def _sent(self, node: Node, first: int, spikes: Tensor, counts: Tensor) -> None:
        """Count and pass on the spikes of a layer from this step of its output window on."""
        self.spike_counts[first : first + len(spikes)] += counts
        if self.watch is not None:
            self.watch(node, spikes)
        self._emit(node.name, spikes)

    def _read(self, node: Node, module: Readout, piece: Tensor) -> None:
        """Add a piece of input, reading the sum wherever a requested step ends in it."""
        total, begin, end = self._sums[node.name], 0, len(piece)
        for t in [t for t in self.readouts if total.steps < t <= total.steps + end] + [None]:
            stop = end if t is None else t - total.steps
            if stop > begin:
                total.total = self.backend.accumulate(total.total, piece[begin:stop])
            if t is not None:
                assert total.total is not None
                total.maps[t] = self.backend.read(node, module, total.total, t)
            begin = stop
        total.steps += end

    def potentials(self) -> dict[str, Tensor]:
        """Membrane potentials of every spiking layer as they stand, ``[N, C, H, W]``: after the last step, û[T]."""
        potentials = {}
        for node, layer in self.network.spiking():
            state = self._states[node.name]
            if isinstance(state, _Groups):
                state = state.gathering if state.firing is None else state.firing
            potentials[node.name] = self.backend.potential(node, layer, state)
        return potentials

    # --- spike trains between nodes ------------------------------------------------------------------------------

    def _constant(self, name: str) -> Tensor:
        made = {IMAGE: self.images}
        for node in self.network.nodes:
            if name in made:
                break
            if self.network.is_constant(node.name):
                with float32():
                    made[node.name] = node.module([made[i].unsqueeze(0) for i in node.inputs])[0]
        return made[name]

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
            return self.backend.constant_piece(self._constant(name), end - begin)
        train = self._trains[name]
        return train.values[begin - train.first : end - train.first]

    def _forget(self, reader: Node, position: int) -> None:
        """Drop what every reader has read, now that ``reader`` has come to this step of its own clock."""
        self._positions[reader.name] = position
        for name in {*reader.inputs, reader.name} & self._trains.keys():
            train = self._trains[name]
            needed = min((self._positions.get(r.name, 0) for r in self._readers[name]), default=self.T)
            drop = min(needed - train.first, train.values.shape[0])
            if drop > 0:
                # A slice would keep the whole storage alive.
                rest = train.values[drop:]
                train.values = rest.clone() if len(rest) else rest.new_zeros((0, *rest.shape[1:]))
                train.first += drop


def simulate(
    network: SpikingNetwork,
    images: Tensor,
    readouts: Iterable[int],
    *,
    T: int | None = None,
    chunk: int | None = None,
    backend: Backend | None = None,
    watch: Watch | None = None,
) -> Iterator[Readings]:
    """Run a network to its last read-out, yielding each as soon as it is there.

    Args:
        network: converted network.
        images: ``[N, 3, H, W]``.
        readouts: time steps to read out.
        T: window length; the largest read-out unless given (without firing delay a longer window changes nothing).
        chunk: global steps simulated together; the backend's own unless given.
        backend: see ``Simulation``.
        watch: see ``Simulation``.
    """
    readouts = sorted(set(readouts))
    run = Simulation(network, images, T or max(readouts, default=0), readouts, backend, watch)
    while run.clock < run.end:
        yield from run.advance(chunk or run.backend.chunk(len(images)))

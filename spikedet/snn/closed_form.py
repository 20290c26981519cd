"""Networks whose layers wait for all their input need no simulation: one pass with whole numbers gives every spike.

A neuron that has gathered the input of D steps before it fires sends

    S = clip(floor(u / theta), 0, D),    u = u[0] + x,    x the sum of its input potential

spikes, in the first S of the next D steps; so after d of them it has sent min(S, d). Where groups of D steps follow
each other (SFA at several real time steps), u also has what is left over, see ``simulator``. The simulation sends the
same spikes and counts the same synaptic operations; it adds up the same potentials in another order.

In a network of fixed point (``conversion.fixed_point``) no sum is rounded here either.

Fast mode convolves the whole numbers themselves with 8-bit weights, scaled per output channel, where a layer reads
single spikes of neurons that send no negative ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from spikedet.config import Mode
from spikedet.snn.backends.dense import float32
from spikedet.snn.byte_convolution import ByteConvolution, can_convolve_bytes
from spikedet.snn.layers import Readout, SpikingConv, broadcast
from spikedet.snn.network import IMAGE, Node, SpikingNetwork
from spikedet.snn.operations import Concat, LinearConv, MaxPool, Slice, SpikeOp, Upsample, ZeroPad
from spikedet.snn.simulator import Readings

WatchCounts = Callable[[Node, Tensor, int, int], None]
"""Shown a node, its spikes ``[N, C, H, W]`` in a group (negative ones below zero), the group's first step, and D."""


def spike_units(network: SpikingNetwork, *, negative: bool = True) -> dict[str, Tensor]:
    """``[C]``, what a spike is worth, of every node whose channels carry the spikes of one neuron at a place.

    Without ``negative``, of those alone that carry no negative spikes.
    """
    units: dict[str, Tensor] = {}
    for node in network.nodes:
        module, inputs = node.module, [units.get(name) for name in node.inputs]
        known = [unit for unit in inputs if unit is not None]
        if isinstance(module, SpikingConv):
            if negative or not module.negative:
                units[node.name] = module.theta
        elif len(known) == len(inputs) and isinstance(module, (Upsample, ZeroPad, MaxPool, Concat, Slice)):
            whole = torch.cat(known)
            units[node.name] = whole[module.start : module.stop] if isinstance(module, Slice) else whole
    return units


def has_closed_form(network: SpikingNetwork) -> bool:
    """Whether every neuron has all its input before it fires, and every maximum is one of counts of positive spikes."""
    D, units = network.group or network.T, spike_units(network, negative=False)
    pools = [node for node in network.nodes if isinstance(node.module, MaxPool)]
    return all(layer.neuron in ("if", "asymmetric") and layer.delay >= D for _, layer in network.spiking()) and all(
        pool.module.rule == "count" and pool.inputs[0] in units for pool in pools
    )


class ClosedForm:
    """One network without simulation.

    Args:
        network: one of ``has_closed_form``; its weights are read now.
        mode: ``exact`` (float32) or ``fast`` (8-bit weights where that is possible, on a CPU).

    Raises:
        ValueError: it has none.
    """

    def __init__(self, network: SpikingNetwork, mode: Mode = "exact") -> None:
        if not has_closed_form(network):
            raise ValueError("a layer fires before it has all its input, or a maximum is none of spike counts")
        self.network, self.D = network, network.group or network.T
        self.groups = network.T // self.D
        self._units = spike_units(network)
        self._divisors = {node.name: self._divisor(layer) for node, layer in network.spiking()}
        self._weights = {node.name: self._folded(layer, self._divisors[node.name]) for node, layer in network.spiking()}
        self._whole: dict[str, Tensor] = {}
        if mode == "fast" and self.D < 256 and can_convolve_bytes(network):
            self._whole = spike_units(network, negative=False)
        self._packed = {
            node.name: ByteConvolution(layer, self._whole[node.inputs[0]], *self._weights[node.name])
            for node, layer in network.spiking()
            if node.inputs[0] in self._whole
        }
        self._read = {node.inputs[0] for node in network.nodes if isinstance(node.module, Readout)}

    @property
    def precision(self) -> str:
        """Of the weights, in words."""
        return f"int8 (in {len(self._packed)} layers) and float32" if self._packed else "float32"

    @torch.no_grad()
    def _folded(self, layer: SpikingConv, divisor: Tensor | float) -> tuple[Tensor, Tensor]:
        """Weight and bias whose convolution of what was sent is u divisor / theta; u[0] per neuron is added later."""
        u0 = layer.u0.double() if layer.u0.ndim == 1 else 0.0
        theta = layer.theta.double() / divisor
        weight = (layer.weight.double() / theta.view(-1, 1, 1, 1)).to(layer.weight.dtype)
        bias = ((self.D * layer.bias.double() + u0) / theta).to(layer.bias.dtype)
        return weight.contiguous(memory_format=torch.channels_last), bias

    def _divisor(self, layer: SpikingConv) -> Tensor | float:
        """``[C]``, what a potential is divided by after its sum, because weights divided by it would be rounded."""
        return layer.theta if self.network.fixed_point and (layer.theta.log2() % 1).any() else 1.0

    @torch.no_grad()
    def __call__(self, images: Tensor, readouts: Iterable[int], watch: WatchCounts | None = None) -> Iterator[Readings]:
        """Yield what the network says of ``[N, 3, H, W]`` after each of these time steps, earliest first."""
        steps = sorted(set(readouts))
        if not steps or steps[0] < 1 or steps[-1] > self.network.T:
            raise ValueError(f"time steps must lie in 1..T = {self.network.T}, got {steps}")
        images = images.contiguous(memory_format=torch.channels_last)
        sums: dict[str, Tensor | float] = dict.fromkeys(self._read, 0.0)
        spikes = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        left: dict[str, Tensor] = {}
        with float32():
            for group in range(-(-steps[-1] // self.D)):
                values, counts = self._group(images, left)
                if watch is not None:
                    self._show(values, counts, group, watch)
                for t in [t for t in steps if t - 1 < (group + 1) * self.D and t > group * self.D]:
                    d = t - group * self.D
                    early = values if d == self.D else self._after(images, counts, d)
                    maps = {
                        node.name: node.module((sums[node.inputs[0]] + early[node.inputs[0]]) / t)
                        for node in self.network.nodes
                        if isinstance(node.module, Readout)
                    }
                    yield Readings(t, maps, _spikes(spikes, counts, d).cpu())
                spikes = _spikes(spikes, counts, self.D)
                sums = {name: sums[name] + values[name] for name in self._read}

    def _group(self, images: Tensor, left: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Sum over one group of what nodes send, of all that are read out, and the spikes of every spiking layer.

        ``left`` has what the group before left over by layer, and is brought up to date.
        """
        values, counts, whole = {IMAGE: images * self.D}, dict[str, Tensor](), dict[str, Tensor]()

        def value(name: str) -> Tensor:
            if name not in values:
                values[name] = whole[name] * broadcast(self._whole[name])
            return values[name]

        for node in self.network.nodes:
            name, module = node.name, node.module
            if isinstance(module, SpikingConv):
                packed, source = self._packed.get(name), node.inputs[0]
                u = packed(whole[source]) if packed else module.convolved(value(source), *self._weights[name])
                counts[name], left_over = self._fire(module, u, left.get(name), self._divisors[name])
                if self.groups > 1:
                    left[name] = left_over
                if name in self._whole:
                    whole[name] = counts[name].to(torch.uint8)
                else:
                    values[name] = counts[name] * broadcast(module.theta)
            elif isinstance(module, SpikeOp) and name in self._whole and not isinstance(module, MaxPool):
                whole[name] = module([whole[source].unsqueeze(0) for source in node.inputs])[0]
            elif isinstance(module, SpikeOp):
                values[name] = _of_sums(module, [value(source) for source in node.inputs], self.D)
                if name in self._whole:
                    whole[name] = (values[name] / broadcast(self._whole[name])).round_().to(torch.uint8)
        for name in self._read:
            value(name)
        return values, counts

    def _fire(
        self, layer: SpikingConv, u: Tensor, left: Tensor | None, divisor: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        """Spikes for a potential from ``_folded``, and what is left of it beside u[0] in thetas; u is overwritten."""
        if layer.u0.ndim > 1:
            u.add_(broadcast(layer.u0) / broadcast(layer.theta / divisor))
        if isinstance(divisor, Tensor):
            u.div_(broadcast(divisor))
        if left is not None:
            u.add_(left, alpha=self.network.leak)
        down = (u * -layer.slope).floor_().clamp_(0, self.D) if layer.neuron == "asymmetric" else None
        if self.groups == 1:
            sent = u.floor_().clamp_(0, self.D)
            return sent if down is None else sent.sub_(down), u
        sent = u.floor().clamp_(0, self.D)
        u.sub_(sent).sub_(broadcast(layer.u0) / broadcast(layer.theta))
        return (sent, u) if down is None else (sent - down, u.add_(down, alpha=1 / layer.slope))

    def _after(self, images: Tensor, counts: dict[str, Tensor], d: int) -> dict[str, Tensor]:
        """Sum over the first d steps of a group of what every node sends."""
        values = {IMAGE: images * d}
        for node in self.network.nodes:
            if isinstance(node.module, SpikingConv):
                values[node.name] = counts[node.name].clamp(-d, d) * broadcast(node.module.theta)
            elif isinstance(node.module, SpikeOp):
                values[node.name] = _of_sums(node.module, [values[name] for name in node.inputs], d)
        return values

    def _show(self, values: dict[str, Tensor], counts: dict[str, Tensor], group: int, watch: WatchCounts) -> None:
        for node in self.network.nodes:
            if isinstance(node.module, MaxPool):
                sent = values[node.name] / broadcast(self._units[node.name])
                watch(node, sent.round_(), group * self.D, self.D)
            elif node.name in counts:
                watch(node, counts[node.name], group * self.D, self.D)


def _of_sums(module: SpikeOp, sums: list[Tensor], steps: int) -> Tensor:
    """An operation on sums over these many steps ``[N, C, H, W]``; an analog current has its bias in each of them."""
    if isinstance(module, LinearConv):
        return module.convolved(sums[0], bias=module.bias * steps)
    return module([x.unsqueeze(0) for x in sums])[0]


def _spikes(before: Tensor, counts: dict[str, Tensor], d: int) -> Tensor:
    """Spikes of either sign per image in the first d steps of a group, float64 ``[N]``, added to those before."""
    sent = (count.abs().clamp_(max=d) for count in counts.values())
    # By channel in float32, where every sum is a whole number that it holds.
    return sum((c.sum((2, 3)).double().sum(1) for c in sent), start=before)

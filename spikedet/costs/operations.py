"""Synaptic operations, counted while a network is simulated: a spike costs one for every weight that it meets.

    SOPs of a reader at step t = sum over its senders' neurons i of |s_i[t]| fan-out_i

Spikes are counted one by one, in the form in which the backend has them; sums are float64, exact below 2**53. Steps are
those of each layer's own window, as in the number of spikes per image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikedet.costs.folding import CONSTANT, carried, folded_layers, is_dense
from spikedet.costs.synapses import dense_macs, fan_outs, met_weights, readers
from spikedet.snn import Backend, Node, SpikingNetwork
from spikedet.snn.operations import MaxPool


@dataclass(frozen=True)
class LayerSynapses:
    """What does not depend on the images.

    Attributes:
        layer: name of a spiking layer or a read-out.
        neurons: of a spiking layer; 0 for a read-out.
        outputs: values it computes for an image, neurons or logits.
        macs: of the ANN's dense convolution, padding included.
        macs_inside: weights that are met if every value of the input is there once; ``macs`` without the zeros of the
            padding.
        image_macs: of ``macs``, those on something constant (the image).
        waits: the steps that each of its neurons waits before it may fire (firing delay), added.
        analog_macs: of ``macs``, those of and on analog currents: computed in every step in place of SOPs.
        leak_macs: of C-LIF neurons in every step, two for each: the decays of current and potential.
    """

    layer: str
    neurons: int
    outputs: int
    macs: int
    macs_inside: int
    image_macs: int
    waits: int = 0
    analog_macs: int = 0
    leak_macs: int = 0


def layer_synapses(network: SpikingNetwork, image_hw: tuple[int, int]) -> list[LayerSynapses]:
    """Of every layer with weights, in execution order."""
    shapes, folded = network.shapes(image_hw), folded_layers(network)
    inputs = carried(network, folded)
    spiking = {node.name: layer for node, layer in network.spiking()}
    met: dict[str, float] = {}
    for fan_out in fan_outs(network, image_hw).values():
        for reader, total in zip(fan_out.readers, fan_out.total.tolist(), strict=True):
            met[reader] = met.get(reader, 0.0) + total
    found = []
    for node, module in readers(network):
        macs, (channels, height, width) = dense_macs(module, shapes[node.name]), shapes[node.name]
        outputs = channels * height * width
        dense = is_dense(node, inputs[node.name], folded)
        seen, constant = len(dense), int((inputs[node.name] == CONSTANT).sum())
        on_dense = float(met_weights(module, shapes[node.inputs[0]][1:]).sum()) * int(dense.sum())
        neurons, delay = (outputs, spiking[node.name].delay) if node.name in spiking else (0, 0)
        leaks = node.name in spiking and spiking[node.name].neuron == "clif"
        found.append(
            LayerSynapses(
                layer=node.name,
                neurons=neurons,
                outputs=outputs,
                macs=macs,
                macs_inside=round(met.get(node.name, 0.0) + on_dense),
                image_macs=macs * constant // seen,
                waits=neurons * delay,
                analog_macs=macs * int(dense.sum()) // seen,
                leak_macs=2 * neurons * leaks,
            )
        )
    return found


class OperationCounter:
    """``Simulation.watch`` for one batch of images after the other.

    Args:
        network: that is simulated.
        backend: that simulates it; None where nothing is simulated (``count_whole``).
        image_hw: height and width of the images.
        steps: of every layer's window that are counted.

    Attributes:
        sops: after ``begin``, float64 ``[layers with weights, steps, N]``.
        spikes: after ``begin``, float64 ``[layers with weights, steps, N]``; a read-out has none.
        layers: their names.
    """

    def __init__(self, network: SpikingNetwork, backend: Backend | None, image_hw: tuple[int, int], steps: int) -> None:
        self.backend, self.steps = backend, steps
        self.layers = [node.name for node, _ in readers(network)]
        self._row = {name: row for row, name in enumerate(self.layers)}
        self._fan_outs = fan_outs(network, image_hw)
        self.begin(0)

    def begin(self, images: int) -> None:
        """Before each batch of so many images."""
        self.sops = torch.zeros(len(self.layers), self.steps, images, dtype=torch.float64)
        self.spikes = torch.zeros_like(self.sops)
        self._done: dict[str, int] = {}

    def until(self, t: int) -> Tensor:
        """``[2, layers with weights, t, N]``: SOPs and spikes of the first t steps."""
        return torch.stack([self.sops[:, :t], self.spikes[:, :t]])

    def __call__(self, node: Node, piece: Tensor) -> None:
        """Count one piece of a train."""
        begin = self._done.get(node.name, 0)
        self._done[node.name] = begin + len(piece)
        piece = piece[: max(self.steps - begin, 0)]
        groups = self._groups(node)
        if not len(piece) or groups is None:
            return
        assert self.backend is not None
        self._add(node, begin, self.backend.place_counts(node, piece, groups))

    def count_whole(self, node: Node, spikes: Tensor, first: int, steps: int) -> None:
        """Count a group of steps from step ``first`` on, whose neurons send ``spikes`` ``[N, C, H, W]`` first."""
        groups = self._groups(node)
        if groups is not None:
            self._add(node, first, counts_of_whole(spikes, groups, min(steps, self.steps - first)))

    def _groups(self, node: Node) -> Tensor | None:
        """``[C]``, the group of every channel; None for spikes that meet no weight and are no neuron's."""
        if (fan_out := self._fan_outs.get(node.name)) is not None:
            return fan_out.groups
        if isinstance(node.module, MaxPool):
            return None
        return torch.zeros(len(node.module.theta), dtype=torch.int64)  # type: ignore[arg-type]  # read by maxima alone

    def _add(self, node: Node, begin: int, counts: Tensor) -> None:
        """Add spikes by place, ``[G, K, N, H, W]``, from step ``begin`` on."""
        window, fan_out = slice(begin, begin + counts.shape[1]), self._fan_outs.get(node.name)
        if not isinstance(node.module, MaxPool):
            self.spikes[self._row[node.name], window] += counts.sum((0, 3, 4))
        if fan_out is not None:
            costs = torch.einsum("gknp,rgp->rkn", counts.flatten(3).double(), fan_out.maps.flatten(2))
            for reader, cost in zip(fan_out.readers, costs, strict=True):
                self.sops[self._row[reader], window] += cost


def counts_of_whole(spikes: Tensor, groups: Tensor, steps: int) -> Tensor:
    """Neurons that fire in each of so many steps, ``[G, steps, N, H, W]``; each fires in its first steps.

    Args:
        spikes: whole numbers ``[N, C, H, W]``, negative ones for negative spikes.
        groups: ``[C]``, the group of every channel.
        steps: of the group.
    """
    sent = spikes.abs().movedim(1, -1)
    parts = [sent if len(groups.unique()) == 1 else sent[..., groups == g] for g in range(int(groups.max()) + 1)]
    # Spikes sent so far, whole numbers that float32 holds: two passes over memory, where counting truth takes more.
    so_far = [torch.stack([part.clamp(max=d).sum(-1) for d in range(steps + 1)]).diff(dim=0) for part in parts]
    return torch.stack(so_far).cpu()

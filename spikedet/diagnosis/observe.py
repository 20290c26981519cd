"""Source ANN, QC-ANN and SNN side by side on images: what every layer of each says, and the sums of its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.common.errors import ConfigError
from spikedet.diagnosis.records import LayerErrors
from spikedet.diagnosis.split import levels, spike_counts, split_error, split_logits
from spikedet.diagnosis.sums import LayerSums
from spikedet.snn import Backend, Node, Readout, Simulation, SpikingConv, SpikingNetwork
from spikedet.snn.backends.dense import float32
from spikedet.snn.network import Means, ann_activation, mean_forward


@dataclass(frozen=True)
class Family:
    """Three networks of one graph.

    Attributes:
        source: the source ANN; read with its own clip activations.
        qc: the QC-ANN; read with the SNN's T levels.
        snn: the spiking network.
    """

    source: SpikingNetwork
    qc: SpikingNetwork
    snn: SpikingNetwork

    def __post_init__(self) -> None:
        expected = _layers(self.snn)
        for name, network in (("source", self.source), ("QC-ANN", self.qc)):
            if _layers(network) != expected:
                raise ConfigError(f"the {name} has other layers than the spiking network; name one it was made from")


def _layers(network: SpikingNetwork) -> list[tuple[str, int]]:
    return [(n.name, len(n.module.bias)) for n in network.nodes if isinstance(n.module, (SpikingConv, Readout))]


@dataclass(frozen=True)
class SnnMeans:
    """The SNN read out at t: means over the first t steps of every window; at T also residual potentials."""

    t: int
    means: Means
    potentials: dict[str, Tensor]


class _MeanTrains:
    """``Simulation.watch``: means over the first t steps of every train, for some t."""

    def __init__(self, backend: Backend, steps: Sequence[int]) -> None:
        self.backend, self.steps = backend, steps
        self.found: dict[int, dict[str, Tensor]] = {t: {} for t in steps}
        self._totals: dict[str, Tensor] = {}
        self._done: dict[str, int] = {}

    def __call__(self, node: Node, piece: Tensor) -> None:
        done = self._done.get(node.name, 0)
        self._done[node.name] = done + len(piece)
        for t in [t for t in self.steps if done < t <= done + len(piece)]:
            self._add(node.name, piece[: t - done])
            self.found[t][node.name] = self.backend.mean(node.name, self._totals[node.name], t)
            piece, done = piece[t - done :], t
        self._add(node.name, piece)

    def _add(self, name: str, piece: Tensor) -> None:
        if len(piece):
            self._totals[name] = self.backend.accumulate(self._totals.get(name), piece)


@torch.no_grad()
def snn_means(
    network: SpikingNetwork, images: Tensor, steps: Sequence[int], backend: Backend, chunk: int | None = None
) -> Iterator[SnnMeans]:
    """One simulation, read out at every one of these steps, earliest first; the last must be the network's T.

    Args:
        network: converted network.
        images: ``[N, 3, H, W]`` in [0, 1].
        steps: rising.
        backend: made for the network.
        chunk: steps simulated together; the backend's own unless given.
    """
    watch = _MeanTrains(backend, steps)
    run = Simulation(network, images, network.T, steps, backend, watch)
    while run.clock < run.end:
        for reading in run.advance(chunk or backend.chunk(len(images))):
            sent = watch.found.pop(reading.t)
            with float32():
                means = mean_forward(network, run.images, lambda node, _, sent=sent: sent[node.name])  # type: ignore[misc]
            yield SnnMeans(reading.t, means, run.potentials() if reading.t == network.T else {})


@torch.no_grad()
def ann_means(network: SpikingNetwork, images: Tensor, T: int | None) -> Means:
    """The QC-ANN (T levels) or clip ANN (None) with a graph's weights."""
    with float32():
        return mean_forward(network, images, ann_activation(T))


class LayerObserver:
    """Sums of the errors of every layer, batch by batch.

    Args:
        family: the three networks, on one device.
    """

    def __init__(self, family: Family) -> None:
        self.family, self.T = family, family.snn.T
        self._sums = {
            node.name: LayerSums(node.name, node.module.theta if isinstance(node.module, SpikingConv) else None)
            for node in family.snn.nodes
            if isinstance(node.module, (SpikingConv, Readout))
        }

    @torch.no_grad()
    def add(self, source: Means, qc: Means, calibrated: Means, snn: SnnMeans) -> None:
        """One batch at one t.

        Args:
            source, qc, calibrated: from ``ann_means``; the last is the SNN's own weights as a QC-ANN.
            snn: from ``snn_means``.
        """
        for node in self.family.snn.nodes:
            if isinstance(node.module, SpikingConv):
                self._add_layer(node.name, node.module, (source, qc, calibrated), snn)
            elif isinstance(node.module, Readout):
                x, x_qc, x_cal, x_snn = (m.outputs[node.name] for m in (source, qc, calibrated, snn.means))
                self._sums[node.name].step(snn.t).add(split_logits(x, x_qc, x_cal, x_snn), x, x_qc, x_snn)

    def _add_layer(self, name: str, layer: SpikingConv, anns: tuple[Means, Means, Means], snn: SnnMeans) -> None:
        x, x_qc, x_cal, x_snn = (means.potentials[name] for means in (*anns, snn.means))
        t, theta, slope, sums = snn.t, layer.theta, layer.slope, self._sums[name]
        rate = snn.means.outputs[name]
        spikes = spike_counts(rate, theta, t)
        terms = split_error(x, x_qc, x_cal, x_snn, spikes, theta, t, slope)
        sums.step(t).add(terms, F.leaky_relu(x, slope), anns[1].outputs[name], rate)
        if t == self.T:
            assert sums.residual is not None and sums.theta is not None
            expected = levels(x_snn, theta, t, slope)
            sums.residual.add(snn.potentials[name], spikes, expected, theta, t, layer.lower)
            sums.theta.add(x_qc, spikes, levels(x_qc, theta, t, slope), t)

    def results(self) -> tuple[LayerErrors, ...]:
        """Of everything added, in execution order."""
        return tuple(sums.result() for sums in self._sums.values())

"""Firing rates of every layer in one simulation: r = theta (sum of spikes) / T, in activation units (equation 8)."""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.snn.backend import Backend
from spikedet.snn.choose import make_backend
from spikedet.snn.network import Node, SpikingNetwork
from spikedet.snn.simulator import Simulation


@torch.no_grad()
def layer_rates(network: SpikingNetwork, images: Tensor, T: int, backend: Backend | None = None) -> dict[str, Tensor]:
    """Mean spikes over the window of spiking layers and max-pooling, ``[N, C, H, W]`` in activation units, by name.

    Args:
        network: converted network.
        images: ``[N, 3, H, W]`` in [0, 1].
        T: length of the window.
        backend: made for this network; the fastest here unless given.
    """
    backend = backend or make_backend(network)
    totals: dict[str, Tensor] = {}

    def add(node: Node, piece: Tensor) -> None:
        totals[node.name] = backend.accumulate(totals.get(node.name), piece)

    run = Simulation(network, images, T, [T], backend, add)
    while run.clock < run.end:
        run.advance(backend.chunk(len(images)))
    return {node.name: backend.mean(node, totals[node.name], T) for node in network.nodes if node.name in totals}

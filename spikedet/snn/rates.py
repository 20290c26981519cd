"""Firing rates of every layer: r = theta (sum of spikes) / T, in activation units (equation 8).

They take one simulation, or none where every neuron has all its input before it fires.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from spikedet.config import Mode
from spikedet.snn.backends.backend import Backend
from spikedet.snn.backends.choose import make_backend
from spikedet.snn.backends.dense import float32
from spikedet.snn.functional import rate_after_waiting
from spikedet.snn.layers import SpikingConv, broadcast
from spikedet.snn.network import Node, SpikingNetwork, mean_forward
from spikedet.snn.operations import MaxPool
from spikedet.snn.simulator import simulate


@torch.no_grad()
def layer_rates(
    network: SpikingNetwork, images: Tensor, T: int, backend: Backend | None = None, mode: Mode = "exact"
) -> dict[str, Tensor]:
    """Mean spikes over the window of spiking layers and max-pooling, ``[N, C, H, W]`` in activation units, by name.

    Args:
        network: converted network.
        images: ``[N, 3, H, W]`` in [0, 1].
        T: length of the window.
        backend: made for this network; the fastest here unless given.
        mode: of the backend that is made here, if one is.
    """
    if waits(network, T):
        with float32():
            means = mean_forward(network, images, functools.partial(waiting_activation, T=T)).outputs
        return {n.name: means[n.name] for n in network.nodes if isinstance(n.module, (SpikingConv, MaxPool))}
    backend = backend or make_backend(network, mode=mode)
    totals: dict[str, Tensor] = {}

    def add(node: Node, piece: Tensor) -> None:
        totals[node.name] = backend.accumulate(totals.get(node.name), piece)

    list(simulate(network, images, [T], backend=backend, watch=add))
    return {node.name: backend.mean(node.name, totals[node.name], T) for node in network.nodes if node.name in totals}


def waits(network: SpikingNetwork, T: int) -> bool:
    """Whether every neuron has all T steps of its input before it fires, so that mean inputs tell all the rates.

    Plain IF with a firing delay of at least T; maxima of counts are the maxima of means (see operations.py).
    """
    rules = {node.module.rule for node in network.nodes if isinstance(node.module, MaxPool)}
    return rules <= {"count"} and all(layer.neuron == "if" and layer.delay >= T for _, layer in network.spiking())


@torch.no_grad()
def waiting_activation(node: Node, value: Tensor, T: int) -> Tensor:
    """Output of a node of a network that waits for the mean of its input, see ``mean_forward``; in float32."""
    if not isinstance(layer := node.module, SpikingConv):
        return value
    return rate_after_waiting(value, broadcast(layer.u0), broadcast(layer.theta), T)

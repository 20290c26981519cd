"""Which layers wait: firing delays are spent where they bring a network's outputs closest to its QC-ANN's.

A plain IF neuron that has seen a part of its input's spikes may fire too early, and cannot take that back. Behind many
layers little is left (Wang et al., section IV, call it the residual error). One step of firing delay mends most of it,
but in every layer it costs as many steps of latency as the longest path has layers. So the steps are spent one by one:
of all layers, the one whose neurons wait a step more next is the one with the

    largest  (error before - error after) / (1 + steps added to L),
    error = mean over output layers of  mean (z - z_qc)^2 / var z_qc,

z the logits after T steps and z_qc those of the QC-ANN. Not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.common.progress import track
from spikedet.snn import SpikingNetwork, make_backend, simulate
from spikedet.snn.network import qc_forward

SHORTLIST = 10
"""Layers that are tried again in the two rounds after all were tried: what helps next was among the best before."""


@torch.no_grad()
def spend_latency_(network: SpikingNetwork, images: Tensor, latency: int) -> dict[str, int]:
    """Let layers wait, in place, as long as the outputs get better and the latency L stays within ``latency``.

    Args:
        network: with copied weights; its layers may wait already.
        images: ``[N, 3, H, W]`` of training; a dozen are enough.
        latency: most steps L to the end of the outputs' window of T steps.

    Returns:
        Steps added to the firing delay by layer, in the order in which they were spent.
    """
    T, backend = network.T, make_backend(network)
    outputs = network.box_readouts + network.class_readouts
    wanted = qc_forward(network, images, T)

    def error() -> float:
        *_, reading = simulate(network, images, [T], T=T, backend=backend)
        parts = [(reading.maps[name] - wanted[name]).square().mean() / wanted[name].var() for name in outputs]
        return float(torch.stack(parts).mean())

    delays = {node.name: layer.delay for node, layer in network.spiking()}
    spent: dict[str, int] = {}
    before, shortlist = error(), list[str]()
    while True:
        steps, tried = network.latency(T), list[tuple[float, float, str]]()
        for name in track(shortlist or delays, f"L = {steps} of {latency}, layers"):
            network.set_delays_({name: delays[name] + 1})
            added = network.latency(T) - steps
            if delays[name] < T and steps + added <= latency:
                after = error()
                tried.append(((before - after) / (1 + added), after, name))
            network.set_delays_({name: delays[name]})
        tried.sort(reverse=True)
        gain, after, name = tried[0] if tried else (0.0, before, "")
        if gain > 0:
            before, delays[name], spent[name] = after, delays[name] + 1, spent.get(name, 0) + 1
            network.set_delays_({name: delays[name]})
        elif not shortlist:
            return spent
        again = gain > 0 and sum(spent.values()) % 3
        shortlist = [name for _, _, name in tried[:SHORTLIST]] if again else []

"""What the neurons of one layer do at every step of one run: spikes and membrane potentials."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.layers import broadcast
from spikedet.snn.network import Node, SpikingNetwork
from spikedet.snn.simulator import Simulation


@dataclass(frozen=True)
class LayerRecord:
    """One layer on one image, ``[steps, C, H, W]`` each; step 0 is the first in which its input arrives.

    Attributes:
        spikes: -1, 0 or 1; zero in the steps of the firing delay.
        potential: after each step, as a multiple of the neuron's theta.
    """

    spikes: Tensor
    potential: Tensor


@torch.no_grad()
def record_layer(network: SpikingNetwork, image: Tensor, layer: str, T: int) -> LayerRecord:
    """Simulate step by step with dense convolutions and keep what one layer does.

    Args:
        network: converted network.
        image: ``[1, 3, H, W]`` in [0, 1].
        layer: name of a spiking layer.
        T: length of the window.

    Raises:
        ValueError: no such spiking layer.
    """
    module = dict((node.name, module) for node, module in network.spiking()).get(layer)
    if module is None:
        raise ValueError(f"no spiking layer is called {layer!r}")
    theta = broadcast(module.theta)
    sent: list[Tensor] = []

    def watch(node: Node, piece: Tensor) -> None:
        if node.name == layer:
            sent.extend(torch.sign(step[0]) for step in piece)

    run = Simulation(network, image, T, [T], TorchBackend(network), watch)
    potentials = []
    for _ in range(network.starts[layer] + T + module.delay):
        run.advance(1)
        if run.clock > network.starts[layer]:
            potentials.append((run.potentials()[layer] / theta)[0].cpu())
    waiting = [torch.zeros_like(sent[0])] * module.delay
    return LayerRecord(torch.stack(waiting + sent).cpu(), torch.stack(potentials))

"""Sparsity in training: an L1 penalty on firing rates, each weighed by the weights that its spikes meet.

    penalty = (sum over layers l of  F_l  mean(|g_l| / theta_l)) / (sum over layers of F_l)

g / theta is the firing rate to come and F_l the number of weights met if every neuron of layer l sent one spike, so the
penalty is the expected number of synaptic operations in a step, as a share of the most there can be. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spikedet.conversion import to_spiking
from spikedet.costs.synapses import fan_outs
from spikedet.models import ClipDetector, activations
from spikedet.quantization import QCActivation
from spikedet.quantization.activation import per_channel
from spikedet.snn import SpikingNetwork


class FiringPenalty:
    """One of ``ClipDetector.extra_losses``: listens to the QC activations of a network in training.

    Args:
        model: a QC-ANN; gets forward hooks.
        weight: of the penalty.
        image_size: side of the square input.
    """

    def __init__(self, model: ClipDetector, weight: float, image_size: int) -> None:
        self.weight = weight
        self._heard: dict[str, Tensor] = {}
        found = [(name, a) for name, a in activations(model) if isinstance(a, QCActivation)]
        self.shares = operation_shares(to_spiking(model, found[0][1].T), (image_size, image_size))
        for name, activation in found:
            activation.register_forward_hook(self._listener(name.removesuffix(".act")))

    def __deepcopy__(self, memo: Any) -> FiringPenalty:
        return self  # the averaged network is a deep copy that never trains

    def __call__(self, images: Tensor, outputs: dict[str, Tensor]) -> Tensor:
        """The weighted penalty of the forward pass that has just been; nothing is heard twice."""
        total = firing_penalty(self._heard, self.shares)
        self._heard.clear()
        return self.weight * total

    def _listener(self, name: str) -> Callable[[QCActivation, tuple[Tensor, ...], Tensor], None]:
        """The forward hook of one activation; deep copies of a network keep it as it is."""

        def hear(activation: QCActivation, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if activation.training:
                self._heard[name] = output.float() / per_channel(activation.theta, output.ndim)

        return hear


def firing_penalty(rates: Mapping[str, Tensor], shares: Mapping[str, float]) -> Tensor:
    """The penalty, in [0, 1] for plain IF.

    Args:
        rates: spikes per neuron and step of every spiking layer, of any shape, by name.
        shares: see ``operation_shares``.
    """
    return torch.stack([share * rates[name].abs().mean() for name, share in shares.items()]).sum()


@torch.no_grad()
def operation_shares(network: SpikingNetwork, image_hw: tuple[int, int]) -> dict[str, float]:
    """F_l over the sum of all F, by the name of the spiking layer."""
    reached = fan_outs(network, image_hw, through_pools=True)
    totals = {node.name: float(reached[node.name].total.sum()) for node, _ in network.spiking() if node.name in reached}
    whole = sum(totals.values())
    return {node.name: totals.get(node.name, 0.0) / whole for node, _ in network.spiking()}

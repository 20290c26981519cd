"""What the residual error of one layer costs: the network in means, with some layers' RPE in it and others' not.

Between spiking layers everything is linear in means (equation 6), so with e = r - g(x_snn) as measured in the SNN

    a = g(W a' + b) + e,        layer by layer,

gives the SNN's outputs when every layer has its e, and as the QC-ANN with the SNN's weights when none has. One layer
alone, or all but one, lies between. (One spiking layer among QC activations would say nothing: its input is constant
then, and at constant input an IF neuron with u[0] = theta / 2 has no residual error.) Max-pooling by ``or`` differs
from the maximum of rates; that difference is its residual error.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from spikedet.snn import SpikingNetwork
from spikedet.snn.backends.dense import float32
from spikedet.snn.network import Means, Node, NodeActivation, ann_activation, layer_activation, mean_forward
from spikedet.snn.operations import MaxPool

ONLY, ALL_BUT = "only", "all but"


def ranked_layers(network: SpikingNetwork) -> list[str]:
    """The nodes that can have a residual error, in execution order."""
    spiking = {node.name for node, _ in network.spiking()}
    return [
        node.name
        for node in network.nodes
        if node.name in spiking or (isinstance(node.module, MaxPool) and node.module.rule != "count")
    ]


def residual_errors(network: SpikingNetwork, means: Means, T: int) -> dict[str, Tensor]:
    """e of every layer, ``[N, C, H, W]``, activation units.

    Args:
        network: the SNN.
        means: its means over T steps.
        T: steps.
    """
    found = {n.name: means.outputs[n.name] - layer_activation(layer, means.potentials[n.name], T)
             for n, layer in network.spiking()}  # fmt: skip
    for node in network.nodes:
        if isinstance(node.module, MaxPool):
            pooled = node.module([means.outputs[node.inputs[0]].unsqueeze(0)])[0]
            found[node.name] = means.outputs[node.name] - pooled
    return found


def _activation(T: int, errors: dict[str, Tensor]) -> NodeActivation:
    plain = ann_activation(T)

    def activation(node: Node, value: Tensor) -> Tensor:
        said, error = plain(node, value), errors.get(node.name)
        return said if error is None else said + error

    return activation


@torch.no_grad()
def inject(network: SpikingNetwork, images: Tensor, T: int, errors: dict[str, Tensor]) -> Means:
    """The network in means, with these residual errors in it.

    Args:
        network: the SNN.
        images: ``[N, 3, H, W]``.
        T: steps.
        errors: e by layer; a layer that is not in it has none.
    """
    with float32():
        return mean_forward(network, images, _activation(T, errors))


@torch.no_grad()
def variants(
    network: SpikingNetwork, images: Tensor, snn: Means, T: int
) -> Iterator[tuple[str, str, dict[str, Tensor]]]:
    """Every layer's two networks: its name, ``ONLY`` or ``ALL_BUT``, and outputs by node, output layers among them.

    What comes before the layer is that of the network without, or with all, residual errors, and not computed again.

    Args:
        network: the SNN.
        images: ``[N, 3, H, W]``.
        snn: its means over T steps.
        T: steps.
    """
    errors = residual_errors(network, snn, T)
    bases = {ONLY: inject(network, images, T, {}).outputs, ALL_BUT: snn.outputs}
    names = [node.name for node in network.nodes]
    for layer in ranked_layers(network):
        chosen = {ONLY: {layer: errors[layer]}, ALL_BUT: {n: e for n, e in errors.items() if n != layer}}
        for kind, base in bases.items():
            known = {name: base[name] for name in names[: names.index(layer)]}
            with float32():
                yield layer, kind, mean_forward(network, images, _activation(T, chosen[kind]), known).outputs

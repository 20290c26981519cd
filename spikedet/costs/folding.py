"""Convolutions without neurons: which of them are folded into the layers that read them, and what spikes then reach.

A pointwise convolution W_1 without neurons and the linear operations behind it are one linear map with the convolution
W_2 that reads them. Its kernel is W_2 W_1, and a spike that W_1 read meets one weight for every neuron that the map
takes it to: no current has to be computed. The simulation computes W_1 by itself, which gives the same sums. What bias
of W_1 a neuron gets does not depend on spikes, and is added to its own.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample, ZeroPad

Shapes = dict[str, tuple[int, int, int]]
Weighted = SpikingConv | Readout | LinearConv
"""Everything with weights."""
SPIKES, CONSTANT, ANALOG = range(3)
"""What a channel carries; a sum carries the last of what is added."""
_PASSING = (Add, AvgPool, Concat, Upsample, ZeroPad)
"""Operations that take all channels of a current further."""
_TOGETHER = 256
"""Places that are followed through the network at once."""


def folded_layers(network: SpikingNetwork) -> frozenset[str]:
    """Names of the convolutions without neurons that are folded: pointwise ones that read nothing but spikes, and whose
    current is read by ungrouped convolutions, as a whole."""
    chosen = frozenset(node.name for node in network.nodes if _is_pointwise(node.module))
    while True:
        inputs, passes = carried(network, chosen), _passes(network, chosen)
        kept = frozenset(name for name in chosen if passes[name] and bool((inputs[name] == SPIKES).all()))
        if kept == chosen:
            return kept
        chosen = kept


def carried(network: SpikingNetwork, folded: Collection[str] = ()) -> dict[str, Tensor]:
    """``[C]``, what each channel of a reader's input carries: ``SPIKES``, ``CONSTANT`` (the image) or ``ANALOG``.

    Args:
        network: converted network.
        folded: names of the convolutions without neurons that are folded; behind them there are spikes.
    """
    sent: dict[str, Tensor] = {IMAGE: torch.full((3,), CONSTANT)}
    found = {}
    for node in network.nodes:
        inputs = [sent[name] for name in node.inputs]
        if isinstance(node.module, Weighted):
            found[node.name] = inputs[0]
            analog = ANALOG if isinstance(node.module, LinearConv) and node.name not in folded else SPIKES
            kind = CONSTANT if network.is_constant(node.name) else analog
            sent[node.name] = torch.full((len(node.module.weight),), kind)
        elif isinstance(node.module, Concat):
            sent[node.name] = torch.cat(inputs)
        elif isinstance(node.module, Slice):
            sent[node.name] = inputs[0][node.module.start : node.module.stop]
        else:
            sent[node.name] = torch.stack(inputs).amax(0)
    return found


def is_dense(node: Node, inputs: Tensor, folded: Collection[str]) -> Tensor:
    """``[C]`` bool: the channels of a reader's input whose weights cost MACs in every step, whatever spikes there are.

    Args:
        node: the reader.
        inputs: ``[C]``, what its input carries.
        folded: names of the layers that are folded; they read spikes alone, and their weights are their readers'.
    """
    current = isinstance(node.module, LinearConv) and node.name not in folded
    return (inputs != CONSTANT) if current else (inputs == ANALOG)


def reached_outputs(folded: Node, network: SpikingNetwork, shapes: Shapes) -> dict[str, Tensor]:
    """``[H, W]`` float64 by reader: how many of its outputs a spike at each place of a folded layer's input reaches.

    Args:
        folded: the layer.
        network, shapes: its network.
    """
    _, height, width = shapes[folded.inputs[0]]
    places = height * width
    found: dict[str, list[Tensor]] = {}
    for chosen in torch.arange(places).split(_TOGETHER):
        here = F.one_hot(chosen, places).view(1, -1, 1, height, width).float()
        sent = {folded.name: here}
        for node in network.nodes:
            trains = [sent[name] for name in node.inputs if name in sent]
            if not trains:
                continue
            if isinstance(node.module, SpikingConv | Readout):
                found.setdefault(node.name, []).append(_outputs(node.module, trains[0][0]))
            elif isinstance(node.module, Add | Concat | LinearConv):  # every channel of them is reached
                sent[node.name] = torch.stack(trains).sum(0)
            else:
                sent[node.name] = counting(node.module)(trains)
    return {reader: torch.cat(parts).view(height, width) for reader, parts in found.items()}


def counting(module: nn.Module) -> nn.Module:
    """The operation on numbers of spikes: average pooling adds them up, a max-pooling sends one for each window."""
    if not isinstance(module, (AvgPool, MaxPool)):
        return module
    pool, divisor = module.pool, 1 if isinstance(module, AvgPool) else None
    return AvgPool(nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, divisor_override=divisor))


def _outputs(module: SpikingConv | Readout, here: Tensor) -> Tensor:
    """``[N]``, outputs that depend on the places of maps ``[N, 1, H, W]`` that are not zero."""
    ones = torch.ones(1, 1, *module.weight.shape[2:])
    reached = F.conv2d(here, ones, None, module.stride, module.padding, module.dilation)
    return len(module.weight) * torch.count_nonzero(reached, (1, 2, 3)).double()


def _is_pointwise(module: nn.Module) -> bool:
    return (
        isinstance(module, LinearConv)
        and module.weight.shape[2:] == (1, 1)
        and (module.stride, module.padding, module.groups) == ((1, 1), (0, 0), 1)
    )


def _passes(network: SpikingNetwork, folded: Collection[str]) -> dict[str, bool]:
    """Of every node, whether all that is behind it up to the next weights can be folded with them."""
    takes = {
        node.name: isinstance(node.module, _PASSING)
        or node.name in folded
        or (isinstance(node.module, SpikingConv | Readout) and node.module.groups == 1)
        for node in network.nodes
    }
    passes = dict.fromkeys(takes, True)
    for node in reversed(network.nodes):
        behind = isinstance(node.module, SpikingConv | Readout) or passes[node.name]
        for name in node.inputs:
            if name in passes:
                passes[name] &= takes[node.name] and behind
    return passes

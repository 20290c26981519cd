"""How many weights one spike meets: the fan-out of every neuron, exact at borders, strides, groups and joins.

A spike at place i of a convolution's input takes part in one accumulation for every output channel of its group and for
every output place that sees i. Along one axis these are

    m(i) = #{(o, k) : o stride - padding + k dilation = i,   0 <= o < outputs,   0 <= k < kernel},

the same for every channel, so a convolution's fan-out is (C_out / groups) m_y(y) m_x(x). Between a layer and its
readers a spike is copied (upsampling, a window of average pooling that it lies in more than once, several readers),
moved (concatenation, padding) or left out (a slice that does not hold its channel); these operations are linear, so
the fan-out before one is the transpose of the operation, applied to the fan-out behind it. Adding two trains joins no
spikes: each stays an event of its own. Max-pooling sends spikes of its own, whose fan-out begins there; what
it reads costs comparisons and no weight.

A convolution without neurons (``LinearConv``) is folded into what reads it where that leaves spikes and weights only,
see ``folding``: a spike then costs one for every neuron that it reaches so. Elsewhere it is an analog current, which
costs its dense MACs in every step, and so do the weights that it meets behind it, alone or added to spikes: there are
no spikes of such a channel to count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from spikedet.costs.folding import (
    Shapes,
    Weighted,
    carried,
    counting,
    folded_layers,
    is_dense,
    reached_outputs,
)
from spikedet.snn import Node, SpikingNetwork
from spikedet.snn.operations import LinearConv, MaxPool, SpikeOp


@dataclass(frozen=True)
class FanOut:
    """Weights that one spike of a node meets.

    Attributes:
        readers: names of the convolutions and output layers that it reaches.
        groups: ``[C]`` int64, channels with the same fan-outs have the same number, 0 to G - 1.
        maps: float64 ``[readers, G, H, W]``, whole numbers.
    """

    readers: tuple[str, ...]
    groups: Tensor
    maps: Tensor

    @property
    def total(self) -> Tensor:
        """``[readers]``: if every neuron sent one spike."""
        channels = torch.bincount(self.groups, minlength=self.maps.shape[1]).double()
        return (self.maps.sum((2, 3)) * channels).sum(1)


def readers(network: SpikingNetwork) -> Iterator[tuple[Node, Weighted]]:
    """The nodes that have weights, in execution order."""
    for node in network.nodes:
        if isinstance(node.module, Weighted):
            yield node, node.module


def dense_macs(module: Weighted, output_chw: tuple[int, int, int]) -> int:
    """Multiply-accumulates of the convolution on one dense map, as is usual also with the zeros of the padding."""
    return module.weight.numel() * output_chw[1] * output_chw[2]


def network_macs(network: SpikingNetwork, image_hw: tuple[int, int]) -> int:
    """``dense_macs`` of all layers for one image: what the ANN of this graph computes."""
    shapes = network.shapes(image_hw)
    return sum(dense_macs(module, shapes[node.name]) for node, module in readers(network))


def fan_outs(network: SpikingNetwork, image_hw: tuple[int, int], *, through_pools: bool = False) -> dict[str, FanOut]:
    """Of everything constant, of every spiking layer and of every max-pooling, by name, for images of this size.

    Args:
        network: converted network.
        image_hw: height and width of the images.
        through_pools: hand the fan-out of a max-pooling to the layers that it reads, as if it were average pooling with
            one spike for each window; for an estimate of what a layer's spikes cost.
    """
    shapes, folded = network.shapes(image_hw), folded_layers(network)
    inputs = carried(network, folded)
    reached: dict[str, dict[str, Tensor]] = {}

    def add(reader: str, read: str, met: Tensor) -> None:
        for source, fan_out in _reached_from(read, met, network, shapes, through_pools).items():
            by_reader = reached.setdefault(source, {})
            by_reader[reader] = by_reader[reader] + fan_out if reader in by_reader else fan_out

    for node, module in readers(network):
        if node.name in folded:
            for reader, met in reached_outputs(node, network, shapes).items():
                add(reader, node.inputs[0], met.expand(module.weight.shape[1], -1, -1))
        else:
            met = met_weights(module, shapes[node.inputs[0]][1:])
            add(node.name, node.inputs[0], met * ~is_dense(node, inputs[node.name], folded).view(-1, 1, 1))
    return {source: _grouped(maps) for source, maps in reached.items()}


def met_weights(module: Weighted, input_hw: tuple[int, int]) -> Tensor:
    """``[H, W]`` float64: weights that a spike at each place of the convolution's input meets."""
    _, _, *output_hw = module.output_shape(1, *input_hw)
    rows, columns = (
        _met_on_axis(
            input_hw[axis], output_hw[axis], module.weight.shape[2 + axis],
            module.stride[axis], module.padding[axis], module.dilation[axis],
        )
        for axis in (0, 1)
    )  # fmt: skip
    return len(module.weight) // module.groups * torch.outer(rows, columns)


def _met_on_axis(inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Tensor:
    """``[inputs]``, how many (output place, weight) pairs of one axis see each input place."""
    places = torch.arange(outputs).view(-1, 1) * stride - padding + torch.arange(kernel) * dilation
    inside = places[(places >= 0) & (places < inputs)]
    return torch.bincount(inside, minlength=inputs).double()


def _reached_from(
    read: str, met: Tensor, network: SpikingNetwork, shapes: Shapes, through_pools: bool
) -> dict[str, Tensor]:
    """Fan-out ``[C, H, W]`` into one reader, by the node that sends, from the reader backwards.

    Args:
        read: name of the node that it reads.
        met: ``[C, H, W]``, weights that a spike at each place of its output meets.
        network, shapes: the reader's.
        through_pools: see ``fan_outs``.
    """
    behind = {read: met}
    for node in reversed(network.nodes):
        if node.name not in behind or not isinstance(node.module, SpikeOp) or network.is_constant(node.name):
            continue
        if isinstance(node.module, MaxPool) and not through_pools:
            continue
        fan_out = behind.pop(node.name)
        if isinstance(node.module, LinearConv):
            continue
        for name, part in zip(node.inputs, _transposed(node, fan_out, shapes), strict=True):
            behind[name] = behind[name] + part if name in behind else part
    return behind


def _transposed(node: Node, fan_out: Tensor, shapes: Shapes) -> list[Tensor]:
    """An operation's transpose, with every spike that it passes on counted as one, applied to what is behind it."""
    inputs = [torch.zeros(1, 1, *shapes[name], dtype=torch.float64, requires_grad=True) for name in node.inputs]
    with torch.enable_grad():
        sent = counting(node.module)(inputs)
        grads = torch.autograd.grad(sent, inputs, fan_out.view_as(sent))
    return [grad[0, 0] for grad in grads]


def _grouped(by_reader: dict[str, Tensor]) -> FanOut:
    """Channels that cost alike, together."""
    stacked = torch.stack(list(by_reader.values()), 1)  # [C, readers, H, W]
    if bool((stacked == stacked[:1]).all()):
        return FanOut(tuple(by_reader), torch.zeros(len(stacked), dtype=torch.int64), stacked[0].unsqueeze(1))
    maps, groups = torch.unique(stacked, dim=0, return_inverse=True)
    return FanOut(tuple(by_reader), groups, maps.transpose(0, 1))

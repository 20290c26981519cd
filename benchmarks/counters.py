#!/usr/bin/env python3
"""Synaptic operations of one network by our counter and by those of other packages, layer by layer.

    python benchmarks/counters.py [--T 8] [--side 61]

A chain of convolutions (strides, groups, padding, an odd image) that all of them can run: IF neurons, soft reset,
theta 1, u[0] = 1/2, dyadic weights, so that float32 is exact and every spike the same. Packages that are missing are
named and left out: SpikingJelly comes with the extra "bench"; sinabs, which brings the driver of a chip, is installed
by hand.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spikedet.costs.operations import OperationCounter
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork, make_backend, simulate

LAYERS = (
    (3, 16, 3, 2, 1),
    (16, 32, 3, 2, 1),
    (32, 32, 3, 1, 4),
    (32, 16, 1, 1, 1),
    (16, 16, 3, 2, 16),
    (16, 8, 3, 1, 1),
)
"""Channels in and out, kernel, stride and groups of each convolution; the last is read out."""
Counts = list[float]


def convolutions() -> list[nn.Conv2d]:
    """With seeded dyadic weights that neither silence the network nor make everything fire."""
    torch.manual_seed(0)
    made = []
    for channels_in, channels, kernel, stride, groups in LAYERS:
        conv = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, groups=groups)
        conv.weight.data = torch.randint(-3, 5, conv.weight.shape) / 16
        conv.bias.data = torch.randint(0, 5, (channels,)) / 16  # type: ignore[union-attr]
        made.append(conv.requires_grad_(False))
    return made


def sample_images(side: int) -> Tensor:
    """Two of this height, two thirds as wide."""
    return torch.randint(0, 9, (2, 3, side, side * 2 // 3)) / 8


def ours(convs: list[nn.Conv2d], image: Tensor, T: int, backend: str) -> Counts:
    """SOPs of every convolution but the first, which reads the image."""
    nodes, source = [], IMAGE
    for index, conv in enumerate(convs):
        weight, bias = conv.weight.detach(), conv.bias.detach()  # type: ignore[union-attr]
        where = {"stride": conv.stride, "padding": conv.padding}
        if conv is convs[-1]:
            module: nn.Module = Readout(weight, bias, **where)  # type: ignore[arg-type]
        else:
            module = SpikingConv(weight, bias, torch.ones(len(weight)), groups=conv.groups, **where)  # type: ignore[arg-type]
        nodes.append(Node(f"conv.{index}", (source,), module))
        source = nodes[-1].name
    network = SpikingNetwork(nodes, [source], [source], torch.tensor([1.0]), T)
    used = make_backend(network, backend)  # type: ignore[arg-type]
    counter = OperationCounter(network, used, (image.shape[-2], image.shape[-1]), T)
    counter.begin(len(image))
    list(simulate(network, image, [T], T=T, backend=used, watch=counter))
    return counter.sops.sum((1, 2))[1:].tolist()


def spikingjelly(convs: list[nn.Conv2d], image: Tensor, T: int) -> Counts:
    """By ``SynOpCounter``: convolutions of binary tensors, as they are dispatched."""
    from spikingjelly.activation_based.neuron import IFNode
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter

    found, x = [0.0] * (len(convs) - 1), image.expand(T, *image.shape).flatten(0, 1)
    for index, conv in enumerate(convs):
        counter = SynOpCounter()
        with DispatchCounterMode([counter]):
            v = conv(x).unflatten(0, (T, len(image)))
        if index:
            found[index - 1] = float(counter.get_total())
        node = IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
        node.v = torch.full_like(v[0], 0.5)
        x = node(v).flatten(0, 1)
    return found


def sinabs(convs: list[nn.Conv2d], image: Tensor, T: int) -> Counts:
    """By ``conv_layer_synops_hook``: a connection map by transposed convolution, times the input's spikes."""
    from sinabs.activation import MembraneSubtract, SingleSpike  # type: ignore[import-not-found]
    from sinabs.hooks import conv_layer_synops_hook  # type: ignore[import-not-found]
    from sinabs.layers import IAF  # type: ignore[import-not-found]

    found, x = [], image.expand(T, *image.shape).transpose(0, 1).flatten(0, 1)  # [N T, C, H, W]
    for index, conv in enumerate(convs):
        handle = conv.register_forward_hook(conv_layer_synops_hook)
        v = conv(x).unflatten(0, (len(image), T))
        handle.remove()
        if index:
            heard: Any = conv.hook_data
            found.append(float(heard["layer_synops_per_timestep"]) * len(image) * T)
        neurons = IAF(spike_threshold=torch.tensor(1.0), spike_fn=SingleSpike, reset_fn=MembraneSubtract())
        neurons.init_state_with_shape((len(image), *v.shape[2:]))
        neurons.v_mem.fill_(0.5)
        x = neurons(v).flatten(0, 1)
    return found


OTHERS: dict[str, Callable[[list[nn.Conv2d], Tensor, int], Counts]] = {"spikingjelly": spikingjelly, "sinabs": sinabs}
"""By package."""


@torch.no_grad()
def main() -> None:
    """One row for each layer, a column for each counter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--T", type=int, default=8)
    parser.add_argument("--side", type=int, default=61, help="height of the image; it is two thirds as wide")
    arguments = parser.parse_args()
    convs, T = convolutions(), arguments.T
    image = sample_images(arguments.side)
    columns = {f"ours, {backend}": ours(convs, image, T, backend) for backend in ("torch", "native")}
    for name, count in OTHERS.items():
        try:
            columns[f"{name} {importlib.metadata.version(name)}"] = count(convs, image, T)
        except ImportError as error:
            print(f"{name} is missing ({error}); install it to compare")
    print(f"SOPs of 2 images, {image.shape[2]} x {image.shape[3]}, T = {T}\n")
    print(f"| layer | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for index, counts in enumerate(zip(*columns.values(), strict=True), 1):
        print(f"| conv.{index} | {' | '.join(f'{count:,.0f}' for count in counts)} |")
    alike = len({tuple(counts) for counts in columns.values()}) == 1
    print("\nAll the same." if alike else "\nThey differ.")


if __name__ == "__main__":
    main()

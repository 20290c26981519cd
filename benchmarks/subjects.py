"""What the benchmarks run on: a trained network, or a random one that fires about as often; and images."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from spikedet.conversion import load_spiking, to_spiking
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.models import build_detector, load_model_yaml
from spikedet.snn import IMAGE, Readout, SpikingConv, SpikingNetwork
from spikedet.snn.network import layer_activation
from spikedet.snn.operations import SpikeOp

CLASSES = ("a", "b", "c")


def network(checkpoint: str, model: str, images: Tensor, rate: float = 0.1) -> tuple[SpikingNetwork, str]:
    """A converted network and what it is; ``checkpoint`` empty: random weights, thresholds for a mean firing rate."""
    if checkpoint:
        loaded, meta = load_spiking(Path(checkpoint))
        return loaded, f"{meta.model} of {checkpoint}"
    torch.manual_seed(0)
    made = to_spiking(build_detector(load_model_yaml(model), list(CLASSES)), 8)
    set_rate_(made, images[:1], rate)
    return made, f"{model}, random weights, thresholds for a firing rate of {rate:.0%}"


@torch.no_grad()
def set_rate_(network: SpikingNetwork, images: Tensor, rate: float) -> None:
    """Thresholds, layer by layer, at which clipped activations are ``rate`` of them on average."""
    values = {IMAGE: images}
    for node in network.nodes:
        module, first = node.module, values[node.inputs[0]]
        if isinstance(module, SpikingConv):
            potential = module.potential(first.unsqueeze(0))[0]
            module.theta.copy_((potential.relu().mean((0, 2, 3)) / rate).clamp_min(1e-3))
            module.u0.copy_(module.theta / 2)
            values[node.name] = layer_activation(module, potential, None)
        elif isinstance(module, SpikeOp):
            values[node.name] = module([values[name].unsqueeze(0) for name in node.inputs])[0]
        else:
            assert isinstance(module, Readout)


def sample_images(data: str, count: int, image_size: int) -> Tensor:
    """``[count, 3, S, S]`` of a dataset's training split, by default the synthetic set."""
    dataset = load_dataset(data, "train")
    return to_input([dataset.read_image(i) for i in range(count)], image_size)


def child_environment(threads: int) -> dict[str, str]:
    """For a child process that is to have this many threads.

    Ultralytics sets OMP_NUM_THREADS to 1 when it is imported; the parent is past that, a child is not.
    """
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}

#!/usr/bin/env python3
"""How many spikes the native backend decides otherwise than the dense float32 loop.

    python benchmarks/differences.py --checkpoint FILE --data DIR [--images 16] [--mode exact]
    python benchmarks/differences.py --integers sfa.safetensors --data DIR

Layer by layer, each fed the loop's own input; then image by image in whole runs, where a moved spike moves others.
With ``--integers``: how many integers of a trained SFA network (T = 1) its spikes do not give, layer by layer, each fed
the integers before it.
"""

from __future__ import annotations

import argparse
import functools
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from subjects import network as load_network
from subjects import sample_images
from torch import Tensor

from spikedet.common.errors import ConfigError
from spikedet.config import Mode
from spikedet.conversion import to_spiking
from spikedet.models import activations, load_ann
from spikedet.models.methods import with_method
from spikedet.snn import IMAGE, Node, SpikingConv, SpikingNetwork, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.layers import broadcast
from spikedet.snn.network import mean_forward
from spikedet.snn.operations import SpikeOp
from spikedet.snn.packed_operations import combine
from spikedet.snn.packing import pack, unpack

NEAR = 1e-5
"""Distance from the threshold, in units of theta, within which rounding may decide."""


@dataclass(frozen=True)
class Difference:
    """Of one layer: decisions, those that differ, and neurons whose first difference is not a matter of rounding."""

    layer: str
    decisions: int
    differing: int
    far: int

    @property
    def share(self) -> float:
        """Of decisions that differ."""
        return self.differing / self.decisions

    def __add__(self, other: Difference) -> Difference:
        """Both together, under this one's name."""
        return Difference(
            self.layer,
            self.decisions + other.decisions,
            self.differing + other.differing,
            self.far + other.far,
        )


class _Recorder(TorchBackend):
    """Keeps the spikes of every layer and the potentials before each decision."""

    def __init__(self, network: SpikingNetwork) -> None:
        super().__init__(network)
        self.spikes: dict[str, Tensor] = {}
        self.before: dict[str, Tensor] = {}

    def fire(
        self, node: Node, layer: SpikingConv, state: Any, piece: Tensor | None, steps: int, tail: int
    ) -> tuple[Tensor, Tensor]:
        v = (
            self._potential(node, layer, piece)
            if piece is not None
            else state.drive.expand(steps, *state.drive.shape[1:])
        )
        u = state.u.clone()
        train, counts = super().fire(node, layer, state, piece, steps, tail)
        theta = broadcast(layer.theta)
        self.spikes[node.name] = (train / theta).round()
        before = []
        for current, fired in zip(v, self.spikes[node.name], strict=True):
            u = u + current
            before.append(u)
            u = u - theta * fired
        self.before[node.name] = torch.stack(before)
        return train, counts


@torch.no_grad()
def differences(network: SpikingNetwork, images: Tensor, T: int, mode: Mode) -> list[Difference]:
    """Layer by layer; IF without delay, layers with a constant input left out (they are computed alike)."""
    recorder, backend = _Recorder(network), NativeBackend(network, mode)
    for _ in simulate(network, images, [T], chunk=T, backend=recorder):
        pass
    bits: dict[str, Tensor] = {}
    found = []
    for node in network.nodes:
        if isinstance(node.module, SpikeOp):
            inputs = [backend.channels[name] for name in node.inputs]
            summed = backend.channels[node.name].summed
            bits[node.name] = combine(node.module, [bits[name] for name in node.inputs], inputs, summed=summed)
        elif isinstance(node.module, SpikingConv):
            expected, negative = recorder.spikes[node.name], node.module.negative
            bits[node.name] = pack(expected, negative=negative)
            if node.inputs[0] == IMAGE:
                continue
            packed, source = backend.layers[node.name], bits[node.inputs[0]]
            made = packed.window(packed.state(len(images), (source.shape[2], source.shape[3])), source, T)
            theta = node.module.theta
            wrong = unpack(made, torch.ones_like(theta), negative=negative) != expected
            first = wrong & (wrong.cumsum(0) == 1)
            thresholds = [theta] if node.module.lower is None else [theta, node.module.lower]
            away = [(recorder.before[node.name] - broadcast(threshold)).abs() for threshold in thresholds]
            near = functools.reduce(torch.minimum, away) <= NEAR * broadcast(theta)
            found.append(Difference(node.name, wrong.numel(), int(wrong.sum()), int((first & ~near).sum())))
    return found


@torch.no_grad()
def whole_run(network: SpikingNetwork, image: Tensor, T: int, mode: Mode) -> tuple[int, int, float]:
    """Spikes of one image in the dense loop, how many more the native backend counts, largest difference of a logit."""
    (loop,) = simulate(network, image, [T], chunk=1, backend=TorchBackend(network))
    (made,) = simulate(network, image, [T], backend=NativeBackend(network, mode))
    logits = max(float((made.maps[name] - values).abs().max()) for name, values in loop.maps.items())
    return int(loop.spikes), int(made.spikes - loop.spikes), logits


@torch.no_grad()
def integer_differences(path: Path, images: Tensor) -> list[Difference]:
    """Layer by layer: integers of the trained network against the spikes that its converted layer sends for them."""
    clip, meta = load_ann(path)
    if meta.real_steps != 1 or meta.stage != "sfa":
        raise ConfigError(f"{path}: expected an SFA network of one real time step")
    D = meta.D or 1
    network, model = to_spiking(clip, D, delay=D), with_method(clip, meta).eval()
    sent: dict[str, Tensor] = {}
    for name, activation in activations(model):
        activation.register_forward_hook(
            lambda _, __, output, name=name: sent.__setitem__(name.removesuffix(".act"), output)
        )
    model(images)
    found: list[Difference] = []

    def compare(node: Node, x: Tensor) -> Tensor:
        layer = node.module
        if not isinstance(layer, SpikingConv):
            return x
        theta, steps = broadcast(layer.theta), x.unsqueeze(0).expand(D, *x.shape)
        state = layer.initial_state(x.shape)
        spikes = torch.cat([layer.run(steps, state), layer.run(torch.zeros_like(steps), state)]).sum(0)
        wrong = spikes != (sent[node.name] * D / theta).round()
        level = (D * x + broadcast(layer.u0)) / theta
        near = (level - level.round()).abs() <= NEAR
        found.append(Difference(node.name, wrong.numel(), int(wrong.sum()), int((wrong & ~near).sum())))
        return sent[node.name]

    mean_forward(network, images, compare)
    return found


def main() -> None:
    """One line for the layers, one for each image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="")
    parser.add_argument("--integers", type=Path, help="a trained SFA network")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--mode", default="exact")
    arguments = parser.parse_args()
    images = sample_images(arguments.data, arguments.images, arguments.image_size)
    if arguments.integers:
        whole = functools.reduce(operator.add, integer_differences(arguments.integers, images))
        print(
            f"{whole.differing} of {whole.decisions} integers differ, {whole.far} further than {NEAR} theta from a step"
        )
        return
    network, what = load_network(arguments.checkpoint, "", images)
    print(f"{what}, T = {network.T}, {torch.get_num_threads()} threads")
    for image in images.split(1):
        layers = differences(network, image, network.T, arguments.mode)
        whole = functools.reduce(operator.add, layers)
        spikes, more, logits = whole_run(network, image, network.T, arguments.mode)
        line = f"layers alone: {whole.differing} of {whole.decisions} decisions, {whole.far} not near the threshold; "
        print(f"{line}whole run: {spikes} spikes, {more:+d}, logits within {logits:.2g}", flush=True)


if __name__ == "__main__":
    main()

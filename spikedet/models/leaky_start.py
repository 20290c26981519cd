"""Where a C-LIF network begins that starts from an ANN: thresholds and scales that repeat the ANN's activations.

A C-LIF neuron adds up its input and loses a part of it, so its rate is not that of its input: a constant input x drives
the current to x / (1 - d_c). For every channel three numbers are chosen: the threshold f in units of the input, a shift
b of the input, and the worth a of a spike, so that the mean output over T steps is nearest to the ANN's activation, in
the mean square. The shift is added to that of the normalization before, then scale and shift are multiplied by a / f,
so that threshold and worth are the same number again. Ours, not the paper's.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikedet.data import DetectionDataset
from spikedet.data.transforms import to_input
from spikedet.models.builder import ClipDetector, activations, replace_activations_
from spikedet.models.thresholds import activation_outputs
from spikedet.quantization.activation import per_channel
from spikedet.snn import CurrentLIF

THRESHOLDS = tuple(0.15 * 1.25**step for step in range(13))
"""Thresholds tried, as multiples of a channel's largest activation: from 0.15 to 2.2."""

SHIFTS = (0.0, -0.1, 0.05, 0.1, 0.2)
"""Shifts of the input tried, as multiples of the threshold."""


Fitted = tuple[Tensor, Tensor, Tensor]
"""Threshold, shift and worth of a spike, ``[C]`` each."""


@torch.no_grad()
def fit_leaky_(model: ClipDetector, ann: ClipDetector, images: DetectionDataset, image_size: int) -> None:
    """Set thresholds, and scales of the normalization before them, in place, from a few training images.

    Layer by layer in one pass, each on the spikes that the layers before it send. All images and all T steps are in
    memory together.

    Args:
        model: a C-LIF network over time with the weights of ``ann``.
        ann: the clip ANN.
        images: training images.
        image_size: side of the square input.
    """
    inputs = to_input([images.read_image(i) for i in range(len(images))], image_size)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    targets = activation_outputs(ann, inputs)
    made = copy.deepcopy(model).eval()
    names, steps, made.steps = {id(a): name for name, a in activations(made)}, model.steps, 0
    fitted: dict[str, Fitted] = {}

    def fitting(old: CurrentLIF, _: int) -> nn.Module:
        name = names[id(old)]
        return old if old.slope == 1 else _Fit(old, targets[name], steps, lambda found: fitted.update({name: found}))

    replace_activations_(made, CurrentLIF, fitting)
    made(inputs.repeat(steps, 1, 1, 1))
    for name, activation in activations(model):
        if name in fitted:
            threshold, shift, worth = fitted[name]
            activation.set_theta(worth)
            _scale_(model.get_submodule(name.removesuffix(".act")), shift, worth / threshold)


class _Fit(nn.Module):
    """In place of an activation: finds its threshold and the worth of its spikes, and sends what they give.

    Args:
        neurons: the activation.
        target: the ANN's activations ``[N, C, H, W]``.
        steps: T.
        keep: receives threshold, shift and worth.

    Shape:
        ``[T N, C, H, W]`` -> the same, the trains of all images.
    """

    def __init__(self, neurons: CurrentLIF, target: Tensor, steps: int, keep: Callable[[Fitted], None]) -> None:
        super().__init__()
        self.neurons, self.target, self.steps, self.keep = neurons, target, steps, keep

    def forward(self, x: Tensor) -> Tensor:
        currents = x.unflatten(0, (self.steps, -1))
        most = self.target.amax((0, 2, 3))
        silent = most <= 0
        most = torch.where(silent, self.neurons.theta.expand_as(most), most)
        found, best = torch.stack([most, 0 * most, most]), torch.full_like(most, torch.inf)
        for candidate, moved in itertools.product(THRESHOLDS, SHIFTS):
            tried = candidate * most
            rate = self._spikes(currents, tried, moved * tried).mean(0)
            power = rate.square().sum((0, 2, 3))
            scale = (rate * self.target).sum((0, 2, 3)) / power.clamp_min(1e-12)
            error = (per_channel(scale) * rate - self.target).square().sum((0, 2, 3))
            better = (error < best) & (scale > 0) & ~silent
            best = torch.where(better, error, best)
            found = torch.where(better, torch.stack([tried, moved * tried, scale]), found)
        threshold, shift, worth = found
        self.keep((threshold, shift, worth))
        return (per_channel(worth) * self._spikes(currents, threshold, shift)).flatten(0, 1)

    def _spikes(self, currents: Tensor, threshold: Tensor, shift: Tensor) -> Tensor:
        """``[T, N, C, H, W]`` spikes of 0 and 1 at these thresholds and shifts."""
        neurons = CurrentLIF.from_clip(self.neurons, reset_rule=self.neurons.reset_rule)
        neurons.set_theta(torch.ones_like(threshold))
        scaled = (currents + per_channel(shift)) / per_channel(threshold)
        return torch.stack([neurons(step) for step in scaled])


def _scale_(block: nn.Module, shift: Tensor, factor: Tensor) -> None:
    """Shift and then scale what a convolution gives its activation, per channel, in place: its normalization, or its
    weights where it has none."""
    kinds = (nn.BatchNorm2d,) if any(isinstance(m, nn.BatchNorm2d) for m in block.modules()) else (nn.Conv2d,)
    for module in block.modules():
        if not isinstance(module, kinds):
            continue
        if module.bias is not None:
            module.bias.add_(shift).mul_(factor)
            shift = torch.zeros_like(shift)  # of several branches that are summed one is shifted
        module.weight.mul_(factor.view(-1, *[1] * (module.weight.ndim - 1)))

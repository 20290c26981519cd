"""Coarse calibration of the initial potential: in closed form (equation 18), or evaluated on when spikes come too.

Equation 18 makes a layer's mean rate right at T. When its spikes come it does not ask, and a layer whose spikes come
late or in bunches leaves the next one errors that no initial potential takes away. With a weight ``early`` (not in the
paper) each channel also trades initial potential against bias: u[0] - d theta with bias + d theta / T reaches the same
sum after T steps, but fires later for d > 0, which spares spikes that should not have come, and earlier for d < 0. The
cost of a channel is its mean squared rate error after T steps plus ``early`` times that after T // 2 steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spikedet.calibration.observer import Indices, Observer, layer_of
from spikedet.common.distributed import sum_
from spikedet.snn import Node, Readout, SpikingConv

SHIFTS = (0.0, -0.2, 0.25, 0.5, 0.75)
"""Initial potential that is traded against bias, in units of theta."""

TRADED_ON = 32
"""Images that decide; every place of a channel counts, so that few are enough."""


@dataclass(frozen=True)
class ChannelErrors:
    """Errors of a layer, ``[C]`` each, over images (of all processes) and places, in activation units.

    Attributes:
        mean: what the QC-ANN says minus what the layer says.
        square: mean squared error.
        cost: the same, with what the first half of the window adds.
    """

    mean: Tensor
    square: Tensor
    cost: Tensor


@torch.no_grad()
def coarse_calibrate_(observer: Observer, node: Node, batches: Sequence[Indices], early: float = 0.0) -> float:
    """Set a layer's initial potential (and, with ``early``, its bias), or a read-out's bias, per channel.

    Equation 18: u[0] += T mean(a - r), with a = g(x) the QC-ANN's activation and r the mean of the spikes, both in
    activation units; u[0] is an increment in potential, hence the factor T. A read-out's bias grows by its mean error.

    Args:
        observer: of the calibration images.
        node: the layer.
        batches: the images held here, a few at a time.
        early: weight of the error after half of the window; 0 is equation 18.

    Returns:
        The mean squared error before.
    """
    module, errors = layer_of(node), channel_errors(observer, node, batches, early)
    if isinstance(module, Readout):
        module.bias.add_(errors.mean)
    elif early:
        _trade_(observer, node, batches, early, errors)
    else:
        module.u0.add_(observer.T * errors.mean)
    return float(errors.square.mean())


def channel_errors(observer: Observer, node: Node, batches: Sequence[Indices], early: float) -> ChannelErrors:
    """How far a layer is from what the QC-ANN says."""
    sums = torch.zeros(3, len(layer_of(node).weight), dtype=torch.float64)  # of errors, squares and early squares
    count = torch.zeros((), dtype=torch.float64)
    for indices in batches:
        target = observer.target(node, indices)
        found = layer_outputs(observer, node, indices, early)
        errors = [target - rate for rate in found]
        parts = [errors[0], *(error.square() for error in errors)]
        sums[: len(parts)] += torch.stack([part.sum((0, 2, 3), dtype=torch.float64) for part in parts])
        count += target[:, 0].numel()
    total, count = sum_(sums), sum_(count)
    assert count, "calibration needs at least one image"
    mean, square, early_square = (total / count).float()
    return ChannelErrors(mean, square, square + early * early_square)


def layer_outputs(observer: Observer, node: Node, indices: Indices, early: float = 0.0) -> list[Tensor]:
    """What a layer says now: its mean spikes, or a read-out's mean potential, ``[b, C, H, W]``.

    ``early`` adds the mean of its spikes in the first half of the window, where that counts, see ``windows``.
    """
    module = layer_of(node)
    if isinstance(module, SpikingConv):
        return observer.rates(module, observer.simulate(node, module, indices), early)
    return [module(observer.train(node.inputs[0], indices).mean(0))]


def _trade_(observer: Observer, node: Node, batches: Sequence[Indices], early: float, errors: ChannelErrors) -> None:
    """Give every channel the cheapest of ``SHIFTS``, each with and without the correction of equation 18."""
    module = node.module
    assert isinstance(module, SpikingConv)
    u0, bias = module.u0.clone(), module.bias.clone()
    tried: list[tuple[Tensor, Tensor, Tensor]] = []  # cost, u[0] and bias; of equal ones the first is taken
    for shift in SHIFTS:
        traded = shift * module.theta
        module.u0.copy_(u0 - traded)
        module.bias.copy_(bias + traded / observer.T)
        shifted = channel_errors(observer, node, batches, early) if shift else errors
        tried.append((shifted.cost, module.u0.clone(), module.bias.clone()))
        module.u0.add_(observer.T * shifted.mean)
        corrected = channel_errors(observer, node, batches, early)
        tried.append((corrected.cost, module.u0.clone(), module.bias.clone()))
    costs, potentials, biases = (torch.stack(values) for values in zip(*tried, strict=True))
    cheapest, channels = costs.argmin(0), torch.arange(len(bias), device=bias.device)
    module.u0.copy_(potentials[cheapest, channels])
    module.bias.copy_(biases[cheapest, channels])

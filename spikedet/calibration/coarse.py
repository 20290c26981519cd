"""Coarse calibration of the initial potential, in closed form (equation 18)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from spikedet.calibration.observer import Indices, Observer
from spikedet.distributed import sum_
from spikedet.snn import Node, Readout, SpikingConv


@torch.no_grad()
def coarse_calibrate_(observer: Observer, node: Node, batches: Iterable[Indices]) -> float:
    """Shift a layer's u[0] by T times its mean rate error, or a read-out's bias by its mean error, per channel.

    u[0] += T mean(a - r) over pictures (of all processes) and places, with a = g(x) the QC-ANN's activation and r the
    mean of the spikes, both in activation units; u[0] is an increment in potential, hence the factor T.

    Returns:
        The mean squared error before the shift.
    """
    module = node.module
    assert isinstance(module, (SpikingConv, Readout))
    total = torch.zeros(len(module.weight), dtype=torch.float64)
    sums = torch.zeros(2, dtype=torch.float64)  # of squares, and how many
    for indices in batches:
        error = observer.target(node, indices) - answer(observer, node, indices)
        total += error.sum((0, 2, 3), dtype=torch.float64)
        sums += torch.stack([error.square().sum(dtype=torch.float64), sums.new_tensor(error.numel())])
    squares, count = sum_(sums).tolist()
    assert count, "calibration needs at least one picture"
    mean = (sum_(total) / (count / len(total))).float()
    if isinstance(module, SpikingConv):
        module.u0.add_(observer.T * (mean if module.u0.ndim == 1 else mean.view(-1, 1, 1)))
    else:
        module.bias.add_(mean)
    return float(squares / count)


@torch.no_grad()
def answer(observer: Observer, node: Node, indices: Indices) -> Tensor:
    """What a layer says now: its mean spikes, or a read-out's mean potential, ``[b, C, H, W]``."""
    module = node.module
    if isinstance(module, SpikingConv):
        return observer.rate(module, observer.simulate(node, module, indices))
    assert isinstance(module, Readout)
    logits: Tensor = module(observer.train(node.inputs[0], indices).mean(0))
    return logits

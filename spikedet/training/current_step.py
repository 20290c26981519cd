"""Learning with the current time step only: the backward pass of a step ends where the step before begins.

The state of the neurons is cut off from the graph after every step, so the gradient of step t goes through the layers
and not through time, and a step's graph is gone before the next one is built: memory does not grow with T. At step t
the loss is that of what is read out then, the mean m[t] of the head's output over the first t steps; the gradient of
m[T] in the output of a step is 1 / T, so each step gets

    dL(m[t]) / dm[t] / T

and the gradients of all steps are added. ``skip`` steps of each batch get no backward pass, and the others T / (T -
skip) times as much (backward phase skipping); which ones is drawn for every batch, from a generator that is seeded anew
in every epoch. Steps after the last one with a backward pass are not computed.

The idea is that of "An Efficient Learning Algorithm for Direct Training Deep Spiking Neural Networks" (doi
10.1109/tcds.2021.3073846, abstract public), and of SLTT (Meng et al., ICCV 2023), which leaves out the gradient through
time too. The loss of the running mean is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikedet.common.distributed import size
from spikedet.common.precision import autocast
from spikedet.config import LoopConfig
from spikedet.models import ClipDetector, activations
from spikedet.models.builder import to_float32
from spikedet.snn import CurrentLIF, firing

Maps = dict[str, Tensor]
Criterion = Callable[[Maps], tuple[Tensor, dict[str, Tensor]]]
"""The loss of a head's raw maps and its parts by name."""


class CurrentStepLearning:
    """``ClipDetector.learning``: runs the backward pass of all steps but the last, whose loss it returns.

    Args:
        skip: steps of each batch without a backward pass, fewer than T.
    """

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip

    def __deepcopy__(self, memo: Any) -> CurrentStepLearning:
        return self  # the averaged network is a deep copy that never trains

    def __call__(self, model: ClipDetector, images: Tensor, criterion: Criterion) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradients of all steps but the last one to the parameters.

        Args:
            model: over time.
            images: ``[N, 3, S, S]``.
            criterion: the loss of maps.

        Returns:
            The loss of the last step with a backward pass, and its parts.
        """
        steps = self.steps(model.steps)
        sums: Maps = {}
        with model.time() as step:
            for t in range(1, steps[-1] + 1):
                with torch.set_grad_enabled(t in steps), autocast(images.device, model.precision):
                    maps = to_float32(step(images))
                mean = {}
                for name in ("boxes", "scores"):
                    now = maps[name]
                    sums[name] = sums.get(name, 0) + now.detach()
                    mean[name] = sums[name] / t
                    if t in steps:
                        mean[name] = mean[name] + (now - now.detach()) / len(steps)
                if t in steps:
                    loss, items = criterion({**maps, **mean})
                    loss = loss / size()  # gradients are summed over processes, which the loop takes as a mean
                    if t < steps[-1]:
                        (loss.sum() * size()).backward()
        return loss, items

    def steps(self, T: int) -> list[int]:
        """The steps of a batch with a backward pass, in order, from 1 to T."""
        drawn = torch.randperm(T)[: T - self.skip]
        return sorted((drawn + 1).tolist())


def set_learning_(model: ClipDetector, config: LoopConfig) -> None:
    """Let the C-LIF neurons of a network over time learn as the settings say, in place."""
    for _, neurons in activations(model):
        assert isinstance(neurons, CurrentLIF)
        neurons.fire = firing(config.surrogate, config.width)
        neurons.through_time = config.learning == "bptt"
        if config.train_decays and neurons.slope == 0:
            neurons.train_decays_()
    if config.learning == "current-step":
        model.learning = CurrentStepLearning(config.skip_backward)

"""Learning with the current time step only: the backward pass of a step ends where the step before begins.

The state of the neurons is cut off from the graph after every step, so the gradient of step t goes through the layers
and not through time. The loss L is that of the mean m of the head's output over all T steps, and each step gets

    dL / dm / T

for its own output; the gradients of all steps are added. Memory does not grow with T: all steps run once, for m and
dL / dm, with graphs of the last ``HELD`` ones that get a backward pass; those before run once more, each with a graph
that is gone before the next one is built. ``skip`` steps of each batch get no backward pass, and the others
T / (T - skip) times as much (backward phase skipping); which ones is drawn for every batch, from a generator that is
seeded anew in every epoch.

The idea is that of "An Efficient Learning Algorithm for Direct Training Deep Spiking Neural Networks" (doi
10.1109/tcds.2021.3073846, abstract public), and of SLTT (Meng et al., ICCV 2023), which leaves out the gradient through
time too. The two runs are ours. A loss of the mean so far at every step, which needs one run only, was tried: it learns
to read out early instead of well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spikedet.common.distributed import size
from spikedet.common.precision import autocast
from spikedet.config import LoopConfig
from spikedet.models import ClipDetector, activations
from spikedet.models.builder import to_float32
from spikedet.snn import CurrentLIF

Maps = dict[str, Tensor]
Criterion = Callable[[Maps], tuple[Tensor, dict[str, Tensor]]]
"""The loss of a head's raw maps and its parts by name."""
AVERAGED = ("boxes", "scores")
HELD = 2
"""Graphs of steps that are in memory at a time."""


class CurrentStepLearning:
    """``ClipDetector.learning``: runs the backward pass of all steps but one, whose gradient its loss has.

    Args:
        skip: steps of each batch without a backward pass, fewer than T.
    """

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip

    def __deepcopy__(self, memo: Any) -> CurrentStepLearning:
        return self  # the averaged network is a deep copy that never trains

    def __call__(self, model: ClipDetector, images: Tensor, criterion: Criterion) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradients of all steps but one to the parameters.

        Args:
            model: over time.
            images: ``[N, 3, S, S]``.
            criterion: the loss of maps.

        Returns:
            The loss of the mean over all steps, whose gradient is that of the step that is left, and its parts.
        """
        T, chosen = model.steps, self.steps(model.steps)
        again, held = chosen[:-HELD], chosen[-HELD:]
        neurons = [a for _, a in activations(model) if isinstance(a, CurrentLIF)]
        with model.time() as step:

            def run(learns: bool) -> Maps:
                with torch.set_grad_enabled(learns), autocast(images.device, model.precision):
                    maps: Maps = to_float32(step(images))
                return maps

            sums: Maps = {}
            graphs: list[Maps] = []
            for t in range(1, T + 1):
                if again and t == again[0]:
                    states = [one.state for one in neurons]
                maps = run(t in held)
                if t in held:
                    graphs.append(maps)
                sums = {name: sums.get(name, 0) + maps[name].detach() for name in AVERAGED}
            mean = {name: (value / T).requires_grad_() for name, value in sums.items()}
            loss, items = criterion({**maps, **mean})
            grads = torch.autograd.grad(loss.sum(), list(mean.values()))
            shares = [grad / len(chosen) for grad in grads]
            while len(graphs) > (0 if again else 1):
                _gradient(graphs.pop(), shares).backward()
            if not again:
                return _with_gradient(loss, graphs[0], shares), items
            for one, state in zip(neurons, states, strict=True):
                one.state = state
            with _statistics_kept(model):
                for t in range(again[0], again[-1] + 1):
                    maps = run(t in again)
                    if t in again[:-1]:
                        _gradient(maps, shares).backward()
        return _with_gradient(loss, maps, shares), items

    def steps(self, T: int) -> list[int]:
        """The steps of a batch with a backward pass, in order, from 1 to T."""
        drawn = torch.randperm(T)[: T - self.skip]
        return sorted((drawn + 1).tolist())


def _gradient(maps: Maps, shares: list[Tensor]) -> Tensor:
    """A scalar whose gradient in these maps is ``shares``."""
    return torch.stack([(maps[name] * share).sum() for name, share in zip(AVERAGED, shares, strict=True)]).sum()


def _with_gradient(loss: Tensor, maps: Maps, shares: list[Tensor]) -> Tensor:
    """The value of ``loss`` with the gradient ``shares``, over the number of processes: the loop takes a mean over them
    of what is summed here."""
    inner = _gradient(maps, shares) / (size() * loss.numel())
    return loss.detach() + (inner - inner.detach())


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Let batch normalization keep its running statistics for a while, however it normalizes."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def set_learning_(model: ClipDetector, config: LoopConfig) -> None:
    """Let the C-LIF neurons of a network over time learn as the settings say, in place."""
    for _, neurons in activations(model):
        assert isinstance(neurons, CurrentLIF)
        neurons.surrogate, neurons.width = config.surrogate, config.width
        neurons.through_time = config.learning == "bptt"
        if config.train_decays and neurons.slope == 0:
            neurons.train_decays_()
    if config.learning == "current-step":
        model.learning = CurrentStepLearning(config.skip_backward)

"""Copies of the first layer's neurons, which tell more levels in the same time steps.

A neuron of the first layer sees a constant current and tells T + 1 levels of it in T steps. K neurons that see the
same, with biases that differ, tell K T + 1 of them together:

    b_i = b + theta / T ((i + 1/2) / K - 1/2),    i = 0 .. K - 1,

and the layer that reads them has its weights K times, divided by K. Spikes stay binary, maxima stay maxima of the sum.
This is ours; docs/training-log.md has what it gives.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from spikedet.common.errors import ConfigError
from spikedet.models.builder import ClipDetector, activations, build_detector

_FIRST = "model.0."


def with_copies(
    model: ClipDetector, architecture: dict[str, Any], copies: int, T: int
) -> tuple[ClipDetector, dict[str, Any]]:
    """The same network with K times the channels in its first layer, and its architecture.

    Args:
        model: in evaluation mode; it is not changed.
        architecture: its own.
        copies: K.
        T: levels that activations are going to have.

    Raises:
        ConfigError: the first layer is no convolution, or something else than convolutions reads it.
    """
    if architecture["backbone"][0][2] != "Conv":
        raise ConfigError(f"copies take a first layer of type Conv, got {architecture['backbone'][0][2]}")
    wider = copy.deepcopy(architecture)
    wider["backbone"][0][3][0] *= copies
    _, first = next(activations(model))
    made = build_detector(wider, tuple(model.names.values()))
    before, after = model.state_dict(), {}
    for name, value in made.state_dict().items():
        groups = getattr(made.get_submodule(name.rpartition(".")[0]), "groups", 1)
        after[name] = _taken(name, before[name], value, copies, plain=groups == 1)
    bias = next(name for name in (f"{_FIRST}bn.bias", f"{_FIRST}conv.bias") if name in after)
    places = (torch.arange(copies) + 0.5) / copies - 0.5
    steps = first.theta.detach() / T
    after[bias] = after[bias] + (places.view(-1, 1) * steps).flatten()
    made.load_state_dict(after)
    return made.eval(), wider


def _taken(name: str, value: Tensor, wanted: Tensor, copies: int, *, plain: bool) -> Tensor:
    """A tensor of the network as one of the wider network."""
    if value.shape == wanted.shape:
        return value
    if name.startswith(_FIRST) and wanted.shape == (copies * len(value), *value.shape[1:]):
        return value.repeat(copies, *[1] * (value.ndim - 1))
    if plain and value.ndim == 4 and wanted.shape == (len(value), copies * value.shape[1], *value.shape[2:]):
        return value.repeat(1, copies, 1, 1) / copies
    raise ConfigError(f"{name}: copies of the first layer can be read by plain convolutions alone; leave --copies out")

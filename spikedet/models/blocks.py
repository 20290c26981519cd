"""Modules that model YAMLs name and ultralytics does not have."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import Detect


class Add(nn.Module):
    """Sum of its inputs.

    Shape:
        a list of ``[N, C, H, W]`` -> ``[N, C, H, W]``.
    """

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(inputs)).sum(0) if len(inputs) > 2 else inputs[0] + inputs[1]


class DirectDetect(Detect):
    """Ultralytics' detection head without layers of its own: one 1x1 convolution for boxes, one for classes, by scale.

    Args:
        nc: number of classes.
        reg_max: bins of each side's distance distribution.
        end2end: must be False.
        ch: channels of each scale.
    """

    def __init__(self, nc: int = 80, reg_max: int = 16, end2end: bool = False, ch: Sequence[int] = ()) -> None:
        super().__init__(nc, reg_max, False, ch)
        self.cv2 = nn.ModuleList(nn.Sequential(nn.Conv2d(channels, 4 * reg_max, 1)) for channels in ch)
        self.cv3 = nn.ModuleList(nn.Sequential(nn.Conv2d(channels, nc, 1)) for channels in ch)


_BUILT_AS = {"Add": "CBFuse", "DirectDetect": "Detect"}
"""Ultralytics' modules of the same inputs and output channels, in whose place its YAML parser builds ours."""


@contextmanager
def known_to_ultralytics(architecture: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A copy of the architecture that ultralytics' parser builds with our modules, while the context lasts.

    The parser finds modules, and how many channels they give, by names of its own.
    """
    made = copy.deepcopy(architecture)
    before = {name: getattr(tasks, name) for name in _BUILT_AS.values()}
    try:
        for row in [*made["backbone"], *made["head"]]:
            if row[2] in _BUILT_AS:
                setattr(tasks, _BUILT_AS[row[2]], globals()[row[2]])
                row[2] = _BUILT_AS[row[2]]
        yield made
    finally:
        for name, module in before.items():
            setattr(tasks, name, module)

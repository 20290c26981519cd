"""FreezeOut: layers stop training one after the other, the first ones first, which saves their backward pass.

Layer i of L is trained until t_i = f(t_0 + (1 - t_0) i / L) of the run, f(x) = x (linear) or x^3 (cubic), at the rate

    0.5 lr (1 + cos(pi j / (t_i N))),    scaled: by 1 / t_i,

in iteration j of N; afterwards it is frozen: its normalization keeps its statistics, its output has no graph, its
parameters get no gradient and no step. Source: Brock et al., "FreezeOut: Accelerate Training by Progressively Freezing
Layers", 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from spikedet.config import LoopConfig


@dataclass(frozen=True)
class Freezing:
    """When the layers of a network stop training.

    Attributes:
        layers: its parts with parameters, in execution order.
        ends: the share of the run until which each is trained, from the first to the last, which is 1.
        scaled: whether the rates are scaled by 1 / t_i.
    """

    layers: tuple[nn.Module, ...]
    ends: tuple[float, ...]
    scaled: bool

    def freeze_(self, done: float) -> None:
        """Freeze, in place, the layers whose time is over after this share of the run."""
        for layer, end in zip(self.layers, self.ends, strict=True):
            if end <= done:
                layer.requires_grad_(False)
                fix_norms_(layer)

    def factor(self, layer: int, done: float) -> float:
        """A layer's learning rate after this share of the run, as a multiple of lr."""
        end = self.ends[layer]
        rate = 0.5 * (1 + math.cos(math.pi * min(done / end, 1.0)))
        return rate / end if self.scaled else rate

    def by_layer(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Groups of an optimizer divided by layer, each with the number of its ``layer``."""
        number = {id(p): index for index, layer in enumerate(self.layers) for p in layer.parameters()}
        parts = []
        for group in groups:
            for index in range(len(self.layers)):
                chosen = [p for p in group["params"] if number[id(p)] == index]
                if chosen:
                    parts.append({**group, "params": chosen, "layer": index})
        return parts


def freezing(rows: nn.Sequential, config: LoopConfig) -> Freezing | None:
    """The schedule of a detector, a row of its YAML being a layer; None where none is asked for."""
    if not config.freeze_out:
        return None
    layers = tuple(row for row in rows if any(True for _ in row.parameters()))
    start, count = config.freeze_start, len(layers)
    times = [start + (1 - start) * (index + 1) / count for index in range(count)]
    return Freezing(layers, tuple(t**3 if config.freeze_out == "cubic" else t for t in times), config.freeze_scaled)


def fix_norms_(module: nn.Module) -> None:
    """Let every batch normalization keep its statistics and normalize by them, in place, until ``train`` is called."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eval()

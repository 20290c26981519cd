"""The activation of directly trained networks: C-LIF neurons that take one time step at each call.

    c[t] = d_c c[t-1] + x[t];   v[t] = d_v v[t-1] (1 - s[t-1]) + c[t];   s[t] = 1 if v[t] >= theta;   output theta s[t]

A spike is worth theta, as in the simulator: dividing x by theta, and multiplying the weights that read the output by
it, gives the same network with a threshold of 1 and spikes worth 1. See ``spikedet.snn.functional.clif_step``.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from spikedet.config import Reset, Surrogate
from spikedet.quantization import ClippedReLU, compiled
from spikedet.quantization.activation import per_channel
from spikedet.snn.compiled_step import leaky_step
from spikedet.snn.functional import clif_step
from spikedet.snn.layers import DECAYS
from spikedet.snn.surrogate import firing


class CurrentLIF(ClippedReLU):
    """C-LIF neurons; they remember current and potential from one call to the next until ``reset``.

    Args:
        channels: as ``ClippedReLU``.
        theta: initial threshold, and what a spike is worth.
        slope: 0, or 1 for a convolution without activation, which sends its current on as it is.
        reset_rule: ``hard`` to zero, or ``soft`` by theta.

    Attributes:
        surrogate, width: the shape of a spike's gradient, and its width in units of theta.
        state: current and potential ``[N, C, H, W]``; None before the first step.
        through_time: let gradients pass from a time step to the one before (BPTT); otherwise the state is cut off from
            the graph after every step.

    Shape:
        ``[N, C, H, W]``, the input current of one time step -> the same.

    Raises:
        ValueError: another slope: a C-LIF neuron sends no negative spikes.
    """

    logit_decays: Tensor

    def __init__(
        self,
        channels: int = 1,
        theta: float = 4.0,
        slope: float = 0.0,
        *,
        reset_rule: Reset = "hard",
    ) -> None:
        super().__init__(channels, theta, slope)
        if slope not in (0, 1):
            raise ValueError(
                f"C-LIF neurons send no negative spikes; expected slope 0, or 1 without neurons, got {slope}"
            )
        self.register_buffer("logit_decays", torch.tensor(DECAYS).logit())
        self.reset_rule: Reset = reset_rule
        self.surrogate: Surrogate = "rectangle"
        self.width = 1.0
        self.through_time = False
        self.state: tuple[Tensor, Tensor] | None = None

    @classmethod
    def from_clip(cls, clip: ClippedReLU, **settings: Any) -> Self:
        """As ``ClippedReLU``, and at the decays of ``clip`` if it has some."""
        made = super().from_clip(clip, **settings)
        if isinstance(clip, CurrentLIF):
            made.logit_decays = clip.logit_decays.detach().clone()
        return made

    @property
    def decays(self) -> tuple[float, float]:
        """d_c and d_v."""
        current, potential = self.logit_decays.detach().double().sigmoid().float().tolist()
        return current, potential

    def train_decays_(self) -> None:
        """Make d_c and d_v trained parameters, in place."""
        values = self.logit_decays
        del self.logit_decays
        self.logit_decays = nn.Parameter(values)

    def reset(self) -> None:
        """Forget current and potential."""
        self.state = None

    def forward(self, x: Tensor) -> Tensor:
        if self.slope == 1:
            return x
        decays = self.logit_decays.sigmoid() if self.logit_decays.requires_grad else torch.tensor(self.decays)
        if self.surrogate == "rectangle" and not self.through_time and compiled.applies(x):
            out, self.state = leaky_step(x, self.state, self.theta, decays, self.reset_rule, self.width)
            return out
        theta, (c, v) = per_channel(self.theta, x.ndim), self.state or (x.new_zeros((), dtype=torch.float32),) * 2
        fire = firing(self.surrogate, self.width)
        spikes, c, v = clif_step(x.float(), c, v, theta, tuple(decays), self.reset_rule, fire)
        self.state = (c, v) if self.through_time else (c.detach(), v.detach())
        return (theta * spikes).to(x.dtype)

    def extra_repr(self) -> str:
        current, potential = self.decays
        return f"{super().extra_repr()}, decays=({current:g}, {potential:g}), reset={self.reset_rule}"

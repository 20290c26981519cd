"""The layers of a converted network: spiking convolutions and output layers.

Every tensor on an edge is a piece of a spike train ``[K, N, C, H, W]`` in activation units: a spike of a layer is worth
its theta, so that weights stay those of the QC-ANN and linear operations (upsampling, concatenation, sum, average
pooling) act on spike trains step by step, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.config import Neuron, Reset
from spikedet.snn.functional import asymmetric_if_step, clif_step, if_step, signed_if_step

DECAYS = (0.5, 0.75)
"""d_c and d_v of C-LIF neurons. The paper's are not public; these are those of the PopSAN code family."""


@dataclass
class NeuronState:
    """Membrane state of one layer, as its backend lays out maps.

    Attributes:
        u: potential.
        count: signed spike count (signed IF).
        current: of C-LIF neurons.
        drive: potential of a constant input.
        step: steps done.
    """

    u: Tensor
    count: Tensor | None
    current: Tensor | None
    drive: Tensor | None = None
    step: int = 0


class Convolution(nn.Module):
    """Weights and settings of a convolution.

    Args:
        weight: ``[C, C_in / groups, k, k]``.
        bias: ``[C]``.
        stride, padding, dilation, groups: of the convolution.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...] = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def whole(self) -> Tensor:
        """Weights ``[C, C_in, kh, kw]`` without groups: zero where a group does not look."""
        weight = self.weight.detach()
        if self.groups == 1:
            return weight
        parts, width, last = weight.chunk(self.groups), weight.shape[1], self.groups - 1
        return torch.cat([F.pad(p, (0, 0, 0, 0, width * i, width * (last - i))) for i, p in enumerate(parts)])

    def by_input(self, values: Tensor) -> Tensor:
        """``[C_in]``, of each input channel -> ``[C, C_in / groups, 1, 1]``, of each weight of the channel's."""
        outputs, groups = len(self.bias), self.groups
        return values.view(groups, 1, -1).expand(groups, outputs // groups, -1).reshape(outputs, -1, 1, 1)

    def convolved(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """``[N, C_in, H, W]`` -> ``[N, C, H', W']``, by other weights and biases where they are given."""
        weight, bias = self.weight if weight is None else weight, self.bias if bias is None else bias
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def potential(self, x: Tensor) -> Tensor:
        """Input potential of a piece of spike train: ``[K, N, C_in, H, W]`` -> ``[K, N, C, H', W']``."""
        return over_steps(self.convolved, x)

    def output_shape(
        self, batch: int, height: int, width: int, *, padding: tuple[int, ...] | None = None
    ) -> tuple[int, int, int, int]:
        """``[N, C, H', W']`` for inputs of this height and width; ``padding`` instead of the layer's own."""
        padding = padding or self.padding
        places = window_places((height, width), self.weight.shape[2:], self.stride, padding, self.dilation)
        return (batch, len(self.bias), *places)


class SpikingConv(Convolution):
    """A convolution with folded BN and a layer of integrate-and-fire or C-LIF neurons.

    Args:
        weight, bias, geometry: see ``Convolution``.
        theta: ``[C]``, positive thresholds in activation units.
        neuron: ``if``, ``signed``, ``asymmetric`` or ``clif``.
        slope: of the LeakyReLU that an asymmetric neuron represents; 1 is a clip from -theta to theta.
        delay: firing delay in steps; a C-LIF neuron has none.
        decays: d_c and d_v of C-LIF neurons, see ``clif_step``.
        reset: of C-LIF neurons; the others' is soft.

    Buffers/parameters: ``u0`` ``[C]`` (per channel) or ``[C, H, W]`` (per neuron), theta / 2 before calibration and 0
    for C-LIF neurons.

    Raises:
        ValueError: C-LIF neurons with a firing delay.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        theta: Tensor,
        *,
        neuron: Neuron = "if",
        slope: float = 0.0,
        delay: int = 0,
        decays: tuple[float, float] = DECAYS,
        reset: Reset = "hard",
        **geometry: Any,
    ) -> None:
        super().__init__(weight, bias, **geometry)
        if neuron == "clif" and delay:
            raise ValueError("C-LIF neurons leak and cannot wait; expected no firing delay")
        self.u0 = nn.Parameter(theta * 0 if neuron == "clif" else theta / 2)
        self.register_buffer("theta", theta.clone())
        self.neuron, self.slope, self.delay = neuron, slope, delay
        self.decays, self.reset = decays, reset

    theta: Tensor

    @property
    def negative(self) -> bool:
        """Whether its neurons can send negative spikes."""
        return self.neuron in ("signed", "asymmetric")

    @property
    def linear(self) -> bool:
        """Whether it is a convolution without activation: a clip from -theta to theta, asymmetric IF of slope 1."""
        return self.neuron == "asymmetric" and self.slope == 1

    @property
    def lower(self) -> Tensor | None:
        """``[C]``, the negative thresholds of asymmetric neurons, else None."""
        return -self.theta / self.slope if self.neuron == "asymmetric" else None

    def per_place(self, values: Tensor) -> Tensor:
        """``[C]``, to be added to u[0]: also ``[C, 1, 1]`` where that is per neuron."""
        return values if self.u0.ndim == 1 else values.view(-1, 1, 1)

    def silent_steps(self, done: int, steps: int) -> int:
        """How many of the next ``steps`` steps lie in the firing delay, after ``done`` steps."""
        return min(max(self.delay - done, 0), steps)

    def initial_state(self, shape: Sequence[int]) -> NeuronState:
        """State before the first step, for potentials of this ``[N, C, H, W]`` shape."""
        u = broadcast(self.u0).expand(*shape).clone()
        count, current = (torch.zeros_like(u) if self.neuron == kind else None for kind in ("signed", "clif"))
        return NeuronState(u, count, current)

    def run(self, v: Tensor, state: NeuronState) -> Tensor:
        """Feed K steps of input potential; the state moves on in place.

        Args:
            v: ``[K, N, C, H, W]``.
            state: from ``initial_state``, and as the steps before have left it.

        Returns:
            Spikes ``[K', N, C, H, W]`` in {-1, 0, 1}; steps of the firing delay give none, so K' <= K.
        """
        theta, lower = broadcast(self.theta), self.lower
        lower = None if lower is None else broadcast(lower)
        silent = self.silent_steps(state.step, len(v))
        spikes = v.new_empty((len(v) - silent, *v.shape[1:]))  # made once: a list and a stack would hold them twice
        for step, current in enumerate(v):
            state.step += 1
            if state.current is not None:
                spikes[step], state.current, state.u = clif_step(
                    current, state.current, state.u, theta, self.decays, self.reset
                )
            elif step < silent:
                state.u = state.u + current
            elif lower is not None:
                spikes[step - silent], state.u = asymmetric_if_step(current, state.u, theta, lower)
            elif state.count is None:
                spikes[step - silent], state.u = if_step(current, state.u, theta)
            else:
                spikes[step - silent], state.u, state.count = signed_if_step(current, state.u, state.count, theta)
        return spikes

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, stride={self.stride}, neuron={self.neuron}, delay={self.delay}"


class Readout(Convolution):
    """A last convolution, without groups or dilation.

    It reads out the mean input potential, linear in the mean of its input spike train.
    """

    def forward(self, mean: Tensor) -> Tensor:
        """``[N, C_in, H, W]`` mean input -> ``[N, C, H', W']``."""
        return self.convolved(mean)


def pair(value: Any) -> tuple[int, int]:
    """A size of both sides, or one of each, as one of each."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def broadcast(values: Tensor) -> Tensor:
    """``[C]`` -> ``[1, C, 1, 1]``; ``[C, H, W]`` -> ``[1, C, H, W]``."""
    return values.view(1, -1, 1, 1) if values.ndim == 1 else values.unsqueeze(0)


def over_steps(function: Callable[[Tensor], Tensor], train: Tensor) -> Tensor:
    """A function of maps ``[N, ...]``, of every step of a train ``[K, N, ...]``."""
    return function(train.flatten(0, 1)).unflatten(0, train.shape[:2])


def window_places(
    input_hw: tuple[int, int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int]:
    """At how many heights and widths the window of a convolution or a pooling layer stands."""
    height, width = (
        (side + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i, side in enumerate(input_hw)
    )
    return height, width

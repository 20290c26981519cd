"""A step of C-LIF in training in C++: one pass over memory forward and one backward, where torch takes twelve each.

For learning with the current time step and the rectangular surrogate. Spikes, states and the gradient of the input are
those of ``clif_step`` bit by bit; the gradients of theta and the decays are summed in another order.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from spikedet.config import Reset
from spikedet.kernels.library import call, fields, pointer
from spikedet.quantization.compiled import TYPES, spread, summed_as


class _LeakyStep(ctypes.Structure):
    _fields_ = fields("places channels *theta *current *potential ~current_decay ~potential_decay hard ~width")


State = tuple[Tensor, Tensor] | None
"""Current and potential; None before the first step."""


def leaky_step(
    x: Tensor, state: State, theta: Tensor, decays: Tensor, reset: Reset, width: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What spikes are worth, and the state after the step, which is cut off from the graph.

    Args:
        x: input current ``[N, C, H, W]``, as ``spikedet.quantization.compiled.applies`` says.
        state: current and potential of the step before, float32; None before the first one.
        theta: ``[C]`` or ``[1]``.
        decays: ``[2]``, d_c and d_v.
        reset: ``hard`` or ``soft``.
        width: of the rectangle, in units of theta.
    """
    out, current, potential = _Step.apply(x, theta, decays, *(state or (None, None)), reset == "hard", width)
    return out, (current, potential)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        theta: Tensor,
        decays: Tensor,
        current: Tensor | None,
        potential: Tensor | None,
        hard: bool,
        width: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kept = (current, potential) if ctx.needs_input_grad[2] else (None, None)
        out = torch.empty_like(x)
        after, reached, left = (torch.empty_like(x, dtype=torch.float32) for _ in range(3))
        ctx.dtype, ctx.how = x.dtype, (hard, width)
        ctx.save_for_backward(theta, decays, *kept, reached)
        step, _limits = _structure(reached, theta, decays, current, potential, *ctx.how)
        call(f"leaky_step_{TYPES[x.dtype]}", step, x, out, after, reached, left)
        ctx.mark_non_differentiable(after, left)
        return out, after, left

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        theta, decays, current, potential, reached = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        grad_x, sums = torch.empty_like(reached, dtype=ctx.dtype), torch.zeros(3, reached.shape[1])
        step, _limits = _structure(reached, theta, decays, current, potential, *ctx.how)
        call(f"leaky_step_backward_{TYPES[ctx.dtype]}", step, grad, reached, grad_x, sums)
        return grad_x, summed_as(sums[0], theta), sums[1:].sum(1), None, None, None, None


def _structure(
    like: Tensor, theta: Tensor, decays: Tensor, current: Tensor | None, potential: Tensor | None, *how: float
) -> tuple[_LeakyStep, Tensor]:
    """The kernel's structure, and a tensor to be kept as long as it is used."""
    batch, channels, height, width = like.shape
    limits = spread(theta, channels)
    tensors = map(pointer, (limits, current, potential))
    return _LeakyStep(batch * height * width, channels, *tensors, *decays.tolist(), *how), limits

"""Charge, fire and soft reset of a whole chunk in one pass over memory, on a GPU through Triton.

A neuron keeps its potential in a register over the steps of a chunk. ``fused_neurons`` hands the kernel out only after
it has given the right spikes on the device; without Triton, or where it fails, the plain loop is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spikedet.config import Neuron
from spikedet.snn.layers import SpikingConv, broadcast

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

BLOCK = 1024

Neurons = Callable[[Tensor, Tensor, Tensor | None, Tensor, Tensor | None, int, int, int, torch.dtype], Tensor]
"""``(v, u, count, theta, lower, steps, silent, tail, dtype) -> train``, see ``neurons``."""

if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]
    def _neurons(  # type: ignore[no-untyped-def]
        v, u, count, theta, lower, train, steps, silent, end, total, places, channels,
        constant: tl.constexpr, signed: tl.constexpr, asymmetric: tl.constexpr, block: tl.constexpr,
    ):  # fmt: skip
        at = tl.program_id(0) * block + tl.arange(0, block)
        inside = at < total
        threshold = tl.load(theta + (at // places) % channels, mask=inside, other=1.0)
        below = tl.load(lower + (at // places) % channels, mask=inside, other=-1.0)
        potential = tl.load(u + at, mask=inside, other=0.0)
        fired = tl.zeros_like(potential)
        if signed:
            fired = tl.load(count + at, mask=inside, other=0.0)
        here, there = v + at, train + at  # pointers move on step by step: an offset would exceed 32 bits
        for k in range(end):
            if k < steps:
                potential += tl.load(here, mask=inside, other=0.0)
                here += 0 if constant else total
            if k >= silent:
                spike = (potential >= threshold).to(tl.float32)
                if signed:
                    spike -= ((potential < 0) & (fired > 0)).to(tl.float32)
                    fired += spike
                potential -= spike * threshold
                if asymmetric:
                    down = (potential <= below).to(tl.float32)
                    potential -= down * below
                    spike -= down
                tl.store(there, (spike * threshold).to(train.dtype.element_ty), mask=inside)
                there += total
        tl.store(u + at, potential, mask=inside)
        if signed:
            tl.store(count + at, fired, mask=inside)


def neurons(
    v: Tensor, u: Tensor, count: Tensor | None, theta: Tensor, lower: Tensor | None, steps: int, silent: int, tail: int,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """Run a layer's neurons.

    Args:
        v: ``[steps, N, C, H, W]`` potentials, or ``[1, N, C, H, W]`` if they never change; contiguous.
        u: ``[N, C, H, W]``, moves on in place.
        count: signed spike counts, in place; None for plain IF.
        theta: ``[C]``.
        lower: ``[C]``, negative thresholds of asymmetric IF; None for the others.
        steps: of input.
        silent: first steps without a decision.
        tail: steps without input after those with.
        dtype: of the train.

    Returns:
        ``[steps + tail - silent, N, C, H, W]``, spikes worth theta.
    """
    train = torch.empty((steps + tail - silent, *u.shape), dtype=dtype, device=u.device)
    grid = (triton.cdiv(u.numel(), BLOCK),)
    sizes = (steps, silent, steps + tail, u.numel(), u[0, 0].numel(), u.shape[1])
    constant = len(v) == 1 and steps != 1
    rows = (v, u, u if count is None else count, theta, theta if lower is None else lower, train)
    _neurons[grid](*rows, *sizes, constant, count is not None, lower is not None, BLOCK)
    return train


@functools.cache
def fused_neurons(device: torch.device) -> tuple[Neurons | None, str]:
    """The kernel if it works on this device, and a word on it."""
    if triton is None:
        return None, "neurons in torch: Triton is not installed"
    try:
        sound = _sound(device, "if") and _sound(device, "signed") and _sound(device, "asymmetric")
    except Exception as error:  # a compiler's or a driver's, of whatever type
        return None, f"neurons in torch: Triton fails here ({type(error).__name__})"
    return (neurons, "neurons in Triton") if sound else (None, "neurons in torch: Triton's spikes are wrong here")


@torch.no_grad()
def _sound(device: torch.device, neuron: Neuron) -> bool:
    """Whether the kernel gives the spikes of the plain loop on a small dyadic case."""
    generator = torch.Generator().manual_seed(0)
    v = (torch.randint(-8, 12, (4, 2, 3, 5, 7), generator=generator).float() / 8).to(device)
    theta = torch.tensor([0.5, 1.0, 2.0], device=device)
    geometry: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0)}
    layer = SpikingConv(torch.ones(3, 1, 1, 1), theta, theta, neuron=neuron, slope=0.5, delay=1, **geometry)
    state, tail = layer.initial_state(v.shape[1:]), torch.zeros_like(v[:2])
    made = neurons(v, state.u.clone(), state.count, theta, layer.lower, 4, 1, 2, torch.float32)
    expected = layer.run(torch.cat([v, tail]), layer.initial_state(v.shape[1:]))
    return torch.equal(made, expected * broadcast(theta))

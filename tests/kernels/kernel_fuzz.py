#!/usr/bin/env python3
"""Random calls of every kernel beside torch, dyadic numbers, so that not one bit may differ.

    python tests/kernels/kernel_fuzz.py [--seconds 600] [--seed 0]

Under the sanitizers: python tests/kernels/sanitized.py tests/kernels/kernel_fuzz.py. A failure names its case.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikedet.kernels.library import library, pointer
from spikedet.quantization import compiled
from spikedet.quantization.activation import leaky_clip, qc_quantize
from spikedet.snn.backends.native import layers
from spikedet.snn.backends.native.layers import PackedConv
from spikedet.snn.layers import SpikingConv
from spikedet.snn.operations import MaxPool
from spikedet.snn.packed_operations import combine
from spikedet.snn.packing import Channels, layer_channels, pack, sums, unpack
from spikedet.snn.surrogate import fire, rate

CHANNELS = (1, 2, 3, 7, 15, 16, 17, 31, 33, 48, 64, 65, 100, 130, 192)


def spikes_of(r: random.Random, shape: tuple[int, ...], *, signed: bool) -> Tensor:
    """``[T, N, C, H, W]``, from silence to every neuron in every step."""
    spikes = (torch.rand(shape) < r.choice([0.0, 0.05, 0.3, 0.8, 1.0])).float()
    return spikes * (torch.randint(0, 2, shape) * 2 - 1) if signed else spikes


def theta_of(channels: int) -> Tensor:
    return torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (channels,))]


@torch.no_grad()
def convolution(r: random.Random) -> None:
    """A layer on spikes in both modes and ways, in one call and in parts, against ``F.conv2d`` and the pure steps."""
    groups = r.choice([1, 1, 1, 2, 3])
    cin, cout = (groups * max(r.choice(CHANNELS) // groups, 1) for _ in range(2))
    kernel, dilation = [r.choice([1, 1, 2, 3, 3, 5]) for _ in range(2)], [r.choice([1, 1, 1, 2, 3]) for _ in range(2)]
    padding, stride = [r.randint(0, 4) for _ in range(2)], [r.choice([1, 1, 2, 3, 5]) for _ in range(2)]
    least = [max(dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i], 1) for i in range(2)]
    height, width = (side + r.choice([0, 1, 2, 5, 12]) for side in least)
    steps, images = r.choice([1, 1, 2, 3, 5, 9]), r.choice([1, 1, 2, 3])
    signed, delay = r.random() < 0.3, r.choice([0, 0, 1, 2, 4])
    weight = torch.randint(-127, 128, (cout, cin // groups, *kernel)).float()
    weight[:, 0, 0, 0] = 127
    neuron = r.choice(["if", "signed", "asymmetric"])
    slope = r.choice([0.5, 1.0]) if neuron == "asymmetric" else 0.0
    how = {"stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation), "groups": groups}
    layer = SpikingConv(
        weight / 128, torch.randint(-4, 9, (cout,)) / 8, theta_of(cout), neuron=neuron, slope=slope, delay=delay, **how
    )
    if r.random() < 0.3:
        layer.u0 = nn.Parameter(torch.randint(-8, 16, layer.output_shape(1, height, width)[1:]) / 16)
    train = spikes_of(r, (steps, images, cin, height, width), signed=signed)
    v = layer.potential(train)
    expected = layer.initial_state(v.shape[1:])
    fired = torch.cat([layer.run(v, expected), layer.run(v.new_zeros((delay, *v.shape[1:])), expected)])
    bits = pack(train, negative=signed)
    for mode in ("exact", "fast"):
        for way in (1, 2) if mode == "fast" else (0,):
            layers.LISTED = r.choice([2**26, 1, 8 * bits[0, 0].numel() * r.randint(1, 2 * images)])
            packed = PackedConv(layer, layer_channels(torch.ones(cin), signed), mode)
            packed.way = way
            state, cut = packed.state(images, (height, width)), r.randint(0, steps)
            first = [packed.run(state, bits[:cut], cut, 0)] if cut else []
            made = torch.cat([*first, packed.run(state, bits[cut:], steps - cut, delay)])
            same(unpack(made, torch.ones(cout), negative=layer.negative), fired, mode, way, layers.LISTED)
            same(state.u.permute(0, 3, 1, 2)[:, :cout], expected.u, mode, way, layers.LISTED)


@torch.no_grad()
def constant_input(r: random.Random) -> None:
    """A layer on an image that never changes."""
    cin, cout, steps, delay = r.choice([1, 3]), r.choice(CHANNELS), r.randint(1, 6), r.choice([0, 0, 2])
    layer = SpikingConv(
        torch.randint(-8, 9, (cout, cin, 3, 3)) / 16,
        torch.randint(-4, 9, (cout,)) / 8,
        theta_of(cout),
        stride=(r.choice([1, 2]),) * 2,
        padding=(1, 1),
        neuron=r.choice(["if", "signed"]),
        delay=delay,
    )
    x = torch.randint(0, 9, (r.choice([1, 2]), cin, r.randint(2, 9), r.randint(2, 9))) / 8
    packed = PackedConv(layer, None, "exact")
    made = unpack(packed.window(packed.constant_state(x), None, steps), torch.ones(cout), negative=layer.negative)
    v = layer.potential(x.unsqueeze(0))
    state = layer.initial_state(v.shape[1:])
    fired = [layer.run(v.expand(steps, *v.shape[1:]), state), layer.run(v.new_zeros((delay, *v.shape[1:])), state)]
    same(made, torch.cat(fired))


@torch.no_grad()
def max_pooling(r: random.Random) -> None:
    """The growth of the largest count, in pieces of time."""
    kernel = r.choice([1, 2, 3, 5])
    pool = nn.MaxPool2d(kernel, r.choice([1, 2, 3]), r.randint(0, kernel // 2), r.choice([1, 1, 2]))
    least = pool.dilation * (kernel - 1) + 1  # on a smaller map, torch has windows of padding alone: -inf
    channels, signed, steps = r.choice(CHANNELS), r.random() < 0.5, r.randint(1, 6)
    shape = (steps, r.choice([1, 2]), channels, least + r.randint(0, 7), least + r.randint(0, 7))
    train, module = spikes_of(r, shape, signed=signed), MaxPool(pool)
    bits, meaning = pack(train, negative=signed), layer_channels(torch.ones(channels), signed)
    memory: dict[str, Tensor] = {}
    cut = r.randint(1, steps)
    made = [combine(module, [piece], [meaning], memory) for piece in (bits[:cut], bits[cut:]) if len(piece)]
    same(unpack(torch.cat(made), torch.ones(channels), negative=signed), module([train]))


@torch.no_grad()
def bits(r: random.Random) -> None:
    """Counting, running sums, sums of joined channels, and unpacking."""
    channels, signed = r.choice(CHANNELS), r.random() < 0.5
    train = spikes_of(r, (r.randint(1, 5), r.choice([1, 2]), channels, r.randint(1, 7), r.randint(1, 7)), signed=signed)
    theta, packed = theta_of(channels), pack(train, negative=signed)
    worth = train * theta.view(-1, 1, 1)
    same(unpack(packed, theta, negative=signed), worth)
    meaning = layer_channels(theta, signed)
    same(sums(packed, meaning), worth.movedim(2, -1))
    twice = Channels(channels, meaning.index.repeat(2), meaning.value.repeat(2))
    same(sums(torch.cat([packed, packed], -1), twice), 2 * worth.movedim(2, -1))
    counts, sizes = torch.empty(packed.shape[:2], dtype=torch.int64), packed[0, 0].numel()
    library().spikedet_count(pointer(packed), ctypes.c_int64(counts.numel()), ctypes.c_int64(sizes), pointer(counts))
    same(counts, train.abs().sum((2, 3, 4)).long())
    total = torch.zeros(*packed.shape[1:4], 8 * packed.shape[4])
    number = [ctypes.c_int64(n) for n in (len(packed), total[..., 0].numel(), packed.shape[4])]
    library().spikedet_accumulate(pointer(packed), *number, pointer(total))
    same(meaning.dense(total), worth.sum(0))


def calibration(r: random.Random) -> None:
    """Mean spikes of a window and their gradient; sums of gradients are rounded, so they are close."""
    T, delay, channels = r.randint(1, 6), r.choice([0, 0, 1, 3]), r.choice(CHANNELS)
    shape = (r.choice([1, T]), r.choice([1, 2]), channels, r.randint(1, 6), r.randint(1, 6))
    v, theta = (torch.randint(-8, 12, shape) / 8).requires_grad_(), theta_of(channels)
    u0 = (torch.randint(-4, 9, (1, channels, 1, 1)) / 8).requires_grad_()
    neuron = r.choice(["if", "signed", "asymmetric"])
    lower = -theta / 0.5 if neuron == "asymmetric" else None
    how = {"signed": neuron == "signed", "delay": delay}
    mean = rate(v, u0, theta, T, lower=lower, **how)
    spread = None if lower is None else lower.view(1, -1, 1, 1)
    expected = fire(v.expand(T, *shape[1:]), u0, theta.view(1, -1, 1, 1), lower=spread, **how).mean(0)
    torch.testing.assert_close(mean, expected, rtol=1e-6, atol=1e-6)
    grad = torch.randn(mean.shape)
    for one, other in zip(*(torch.autograd.grad(m, (v, u0), grad) for m in (mean, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def activations(r: random.Random) -> None:
    """Clip and quantization-clip, both types, against torch; gradients are in tests/quantization."""
    dtype, slope, T = r.choice([torch.float32, torch.bfloat16]), r.choice([0.0, 0.1, 1.0]), r.randint(1, 40)
    shape = (r.choice([1, 2]), r.choice(CHANNELS), r.randint(1, 20), r.randint(1, 30))
    x = (3 * torch.randn(shape)).to(dtype).contiguous(memory_format=torch.channels_last)
    theta = torch.rand(shape[1] if r.random() < 0.7 else 1) + 0.1
    kept = torch.rand(shape) < 0.3 if r.random() < 0.5 else None
    torchs = qc_quantize(x.contiguous(), theta, T, kept, slope=slope), leaky_clip(x.contiguous(), theta, slope)
    out, inside = compiled.quantize_clip(x, theta, T, kept, slope)
    clipped = compiled.clip(x, theta, slope)
    grad = torch.randn(shape).to(dtype)
    for found in (
        compiled.quantize_clip_backward(grad, x, out, inside, theta, T, slope),
        compiled.clip_backward(grad, x, theta, slope),
    ):
        assert all(part.isfinite().all() for part in found)
    if shape[1] > 1 and shape[2] * shape[3] > 1:  # else channels-last memory is contiguous too
        same(out, torchs[0])
        same(clipped, torchs[1])


KINDS: tuple[Callable[[random.Random], None], ...] = (
    *(convolution, convolution, convolution, constant_input, max_pooling, bits, calibration, activations),
)


def same(found: Tensor, expected: Tensor, *what: object) -> None:
    assert found.shape == expected.shape and torch.equal(found, expected), what


def one(seed: int) -> None:
    """The case of this seed. Raises AssertionError that names it."""
    r = random.Random(seed)
    torch.manual_seed(seed)
    kind, listed = r.choice(KINDS), layers.LISTED
    try:
        kind(r)
    except AssertionError as error:
        raise AssertionError(f"case {seed}, {kind.__name__}: {error}") from error
    finally:
        layers.LISTED = listed


def run(seconds: float, seed: int = 0) -> int:
    """Cases one after the other for that long; returns their number."""
    end, count = time.monotonic() + seconds, 0
    while count == 0 or time.monotonic() < end:
        one(seed + count)
        count += 1
    return count


def main() -> None:
    """Print how many cases were tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{run(arguments.seconds, arguments.seed)} cases, none wrong; {library()._name}")


if __name__ == "__main__":
    main()

"""Bit-packed spike trains and the linear operations on them.

A train is uint8 ``[K, N, H, W, bytes]``, channels last, little-endian bits. What a bit is worth stands apart in
``Channels``: packed channel p is a spike of logical channel ``index[p]`` worth ``value[p]`` in activation units. So
every linear operation is exact on bits: upsampling repeats them, concatenation and sum put channels behind each other
(a sum keeps the index of both), average pooling puts the places of its window behind each other, a neuron with negative
spikes has a plane of negative worth.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.snn.layers import Add, AvgPool, Concat, SpikeOp, Upsample
from spikedet.snn.native.library import available, library


@dataclass(frozen=True)
class Channels:
    """What the bits of a packed train mean.

    Attributes:
        logical: number of channels of the train they stand for.
        index: ``[P]`` int64, the logical channel of each packed one; P is a multiple of 16.
        value: ``[P]``, the worth of a spike; zero for padding.
    """

    logical: int
    index: Tensor
    value: Tensor

    @property
    def bytes(self) -> int:
        """Per place."""
        return len(self.index) // 8

    def fold(self, weight: Tensor) -> Tensor:
        """Weights ``[C, logical, kh, kw]`` -> ``[C, P, kh, kw]`` for spikes of 0 and 1."""
        return weight[:, self.index] * self.value.view(1, -1, 1, 1)

    def dense(self, packed: Tensor) -> Tensor:
        """Sums of packed channels ``[N, H, W, P]`` -> activations ``[N, logical, H, W]``."""
        out = packed.new_zeros((*packed.shape[:-1], self.logical))
        return out.index_add_(-1, self.index, packed * self.value).permute(0, 3, 1, 2).contiguous()


def padded(channels: int) -> int:
    """Packed channels of a layer: whole vectors, and whole cache lines of 8-bit weights for wide layers."""
    unit = 16 if channels <= 16 else 32 if channels <= 32 else 64
    return -(-channels // unit) * unit


def layer_channels(theta: Tensor, negative: bool) -> Channels:
    """Of a layer's own spikes, negative ones too or not; ``theta`` is ``[C]``."""
    count = len(theta)
    pad = padded(count) - count
    index, value = F.pad(torch.arange(count), (0, pad)), F.pad(theta.detach(), (0, pad))
    if negative:
        return Channels(count, torch.cat([index, index]), torch.cat([value, -value]))
    return Channels(count, index, value)


def why_not(module: SpikeOp) -> str | None:
    """Why an operation cannot work on bits; None if it can."""
    if isinstance(module, (Upsample, Concat, Add)):
        return None
    if not isinstance(module, AvgPool):
        return f"{type(module).__name__} has no form on packed spikes"
    pool = module.pool
    if pool.ceil_mode or (_pair(pool.padding) != (0, 0) and not pool.count_include_pad):
        return "average pooling whose divisor changes at borders has no form on packed spikes"
    return None


def combined_channels(module: SpikeOp, inputs: list[Channels]) -> Channels:
    """Of an operation's output."""
    if isinstance(module, Concat):
        offsets = [sum(c.logical for c in inputs[:i]) for i in range(len(inputs))]
        index = torch.cat([c.index + offset for c, offset in zip(inputs, offsets, strict=True)])
        return Channels(sum(c.logical for c in inputs), index, torch.cat([c.value for c in inputs]))
    if isinstance(module, Add):
        return Channels(inputs[0].logical, torch.cat([c.index for c in inputs]), torch.cat([c.value for c in inputs]))
    (channels,) = inputs
    if isinstance(module, AvgPool):
        height, width = _pair(module.pool.kernel_size)
        places = height * width
        worth = 1.0 / (module.pool.divisor_override or places)
        return Channels(channels.logical, channels.index.repeat(places), channels.value.repeat(places) * worth)
    return channels


def combine(module: SpikeOp, trains: list[Tensor]) -> Tensor:
    """An operation on packed trains ``[K, N, H, W, bytes]``."""
    if isinstance(module, Upsample):
        return trains[0].repeat_interleave(module.factor, 2).repeat_interleave(module.factor, 3)
    if isinstance(module, AvgPool):
        return _windows(module.pool, trains[0])
    return torch.cat(trains, -1)


def _windows(pool: nn.AvgPool2d, train: Tensor) -> Tensor:
    """The bits of each pooling window behind each other."""
    (kh, kw), (sh, sw), (ph, pw) = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    train = F.pad(train, (0, 0, pw, pw, ph, ph))
    height, width = (train.shape[2] - kh) // sh + 1, (train.shape[3] - kw) // sw + 1
    places = [
        train[:, :, y : y + sh * (height - 1) + 1 : sh, x : x + sw * (width - 1) + 1 : sw]
        for y in range(kh)
        for x in range(kw)
    ]
    return torch.cat(places, -1)


def pack(spikes: Tensor, *, negative: bool) -> Tensor:
    """A layer's spikes ``[K, N, C, H, W]`` in {-1, 0, 1} -> bits ``[K, N, H, W, bytes]`` of its ``layer_channels``."""
    last = F.pad(spikes.movedim(2, -1), (0, padded(spikes.shape[2]) - spikes.shape[2]))
    planes = [last > 0, last < 0] if negative else [last > 0]
    worth = torch.tensor([1 << bit for bit in range(8)])
    return torch.cat([(plane.unflatten(-1, (-1, 8)) * worth).sum(-1).to(torch.uint8) for plane in planes], -1)


def unpack(bits: Tensor, theta: Tensor, *, negative: bool) -> Tensor:
    """A layer's bits ``[K, N, H, W, bytes]`` -> its train ``[K, N, C, H, W]`` in activation units, channels last."""
    bits, planes, theta = bits.contiguous(), 1 + negative, theta.detach().contiguous()
    if not available():
        ones = ((bits.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1).flatten(-2)
        parts = [plane[..., : len(theta)] * theta for plane in ones.float().chunk(planes, -1)]
        return (parts[0] - parts[1] if negative else parts[0]).movedim(-1, 2)
    train = torch.empty((*bits.shape[:-1], len(theta)))
    library().spikedet_unpack(
        *(ctypes.c_void_p(bits.data_ptr()), ctypes.c_int64(bits.shape[:-1].numel()), ctypes.c_int64(planes)),
        *(ctypes.c_int64(bits.shape[-1] // planes), ctypes.c_int64(len(theta))),
        *(ctypes.c_void_p(theta.data_ptr()), ctypes.c_void_p(train.data_ptr())),
    )
    return train.movedim(-1, 2)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])

"""Bit-packed spike trains.

A train is uint8 ``[K, N, H, W, bytes]``, channels last, little-endian bits. What a bit is worth stands apart in
``Channels``: packed channel p is a spike of logical channel ``index[p]`` worth ``value[p]`` in activation units. So
every linear operation is exact on bits: upsampling repeats them, concatenation and sum put channels behind each other
(a sum keeps the index of both), average pooling puts the places of its window behind each other, a neuron with negative
spikes has a plane of negative worth.

Where many trains meet, the bits of a channel are many, and their weights more than they save. Such a train, and an
analog current, is *summed*: float32 ``[K, N, H, W, C]``, what the spikes of each channel are worth together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.kernels.library import available, call


@dataclass(frozen=True)
class Channels:
    """What the bits of a packed train mean.

    Attributes:
        logical: number of channels of the train they represent.
        index: ``[P]`` int64, the logical channel of each packed one; P is a multiple of 16.
        value: ``[P]``, the worth of a spike; zero for padding.
        summed: the train is not of bits but of sums, one for each logical channel.
    """

    logical: int
    index: Tensor
    value: Tensor
    summed: bool = False

    @classmethod
    def of_sums(cls, logical: int) -> Self:
        """Of a train of sums."""
        return cls(logical, torch.arange(logical), torch.ones(logical), True)

    @property
    def planes(self) -> int:
        """1 for a layer's spikes, 2 for a layer with negative spikes in a plane of their own, 0 for anything else."""
        if self.summed:
            return 0
        if bool((self.value >= 0).all()) and _counts_up(self.index, self.logical):
            return 1
        index, value = self.index.view(2, -1), self.value.view(2, -1)
        mirrored = torch.equal(index[0], index[1]) and torch.equal(value[0], -value[1])
        return 2 if mirrored and bool((value[0] >= 0).all()) and _counts_up(index[0], self.logical) else 0

    @property
    def unit(self) -> Tensor | None:
        """``[logical]``, what any spike of a channel is worth, sign aside; None if its spikes differ."""
        if self.summed:
            return None
        worth = torch.zeros(self.logical).scatter_reduce_(0, self.index, self.value.abs(), "amax")
        same = (self.value == 0) | (self.value.abs() == worth[self.index])
        return worth if bool(same.all()) else None

    @property
    def bytes(self) -> int:
        """Per place."""
        return 4 * self.logical if self.summed else len(self.index) // 8

    def fold(self, weight: Tensor) -> Tensor:
        """Weights ``[C, logical, kh, kw]`` -> ``[C, P, kh, kw]`` for spikes of 0 and 1."""
        return weight[:, self.index] * self.value.view(1, -1, 1, 1)

    def dense(self, packed: Tensor) -> Tensor:
        """A train summed over steps, ``[N, H, W, P]`` or ``[N, H, W, C]`` -> activations ``[N, logical, H, W]``."""
        if self.summed:
            return packed.permute(0, 3, 1, 2).contiguous()
        out = packed.new_zeros((*packed.shape[:-1], self.logical))
        return out.index_add_(-1, self.index, packed * self.value).permute(0, 3, 1, 2).contiguous()


def sums(train: Tensor, channels: Channels) -> Tensor:
    """What the spikes of each channel are worth together: ``[K, N, H, W, bytes]`` -> float32 ``[K, N, H, W, C]``."""
    if channels.summed:
        return train
    train, worth = train.contiguous(), channels.value.contiguous()
    made = torch.empty((*train.shape[:-1], channels.logical))
    places, size = train.shape[:-1].numel(), train.shape[-1]
    call("sum", train, places, size, channels.index, worth, channels.logical, made)
    return made


def _counts_up(index: Tensor, count: int) -> bool:
    """Channels 0 to ``count`` in order, then only padding."""
    return len(index) >= count and torch.equal(index[:count], torch.arange(count)) and not bool(index[count:].any())


def padded(channels: int) -> int:
    """Packed channels of a layer: whole vectors, and whole cache lines of 8-bit weights for wide layers."""
    unit = 16 if channels <= 16 else 32 if channels <= 32 else 64
    return -(-channels // unit) * unit


def layer_channels(theta: Tensor, negative: bool) -> Channels:
    """Of a layer's own spikes, negative ones too or not; ``theta`` is ``[C]``."""
    count = len(theta)
    pad = padded(count) - count
    index, value = F.pad(torch.arange(count), (0, pad)), F.pad(theta.detach().cpu(), (0, pad))
    if negative:
        return Channels(count, torch.cat([index, index]), torch.cat([value, -value]))
    return Channels(count, index, value)


def pack(spikes: Tensor, *, negative: bool) -> Tensor:
    """A layer's spikes ``[K, N, C, H, W]`` in {-1, 0, 1} -> bits ``[K, N, H, W, bytes]`` of its ``layer_channels``."""
    last = F.pad(spikes.movedim(2, -1), (0, padded(spikes.shape[2]) - spikes.shape[2]))
    planes = torch.cat([last > 0, last < 0] if negative else [last > 0], -1)
    return torch.from_numpy(np.packbits(planes.numpy(), axis=-1, bitorder="little"))


def unpack(bits: Tensor, theta: Tensor, *, negative: bool) -> Tensor:
    """A layer's bits ``[K, N, H, W, bytes]`` -> its train ``[K, N, C, H, W]`` in activation units, channels last."""
    bits, planes, theta = bits.contiguous(), 1 + negative, theta.detach().contiguous()
    if not available():
        ones = torch.from_numpy(np.unpackbits(bits.numpy(), axis=-1, bitorder="little")).float()
        parts = [plane[..., : len(theta)] * theta for plane in ones.chunk(planes, -1)]
        return (parts[0] - parts[1] if negative else parts[0]).movedim(-1, 2)
    train = torch.empty((*bits.shape[:-1], len(theta)))
    call("unpack", bits, bits.shape[:-1].numel(), planes, bits.shape[-1] // planes, len(theta), theta, train)
    return train.movedim(-1, 2)


def place_counts(bits: Tensor, channels: Channels, groups: Tensor) -> Tensor:
    """Spikes at every place, ``[K, N, H, W, bytes]`` -> ``[G, K, N, H, W]``, by the group ``[C]`` of their channel."""
    width = channels.bytes
    word = np.dtype(f"u{min(width & -width, 8)}")  # counted as many bits at a time as divide the channels
    words, counts = bits.contiguous().numpy().view(word), []
    for group in range(int(groups.max()) + 1):
        mask = np.packbits((groups[channels.index] == group).numpy(), bitorder="little").view(word)
        counts.append(torch.from_numpy(np.bitwise_count(words & mask).sum(-1, dtype=np.float64)))
    return torch.stack(counts)

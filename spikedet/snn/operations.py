"""Operations on spike trains between layers: linear ones, step by step, and the maximum of a window.

A convolution without neurons is one of them, an analog current: what it sends is no train of spikes.

A maximum over spikes is not the spike train of the maximum, so max-pooling needs a rule:

- ``count``: the pooled train is the growth of the running maximum of the window's spike counts,
      out[t] = max_i N_i[t] - max_i N_i[t - 1],    N_i[t] = s_i[1] + ... + s_i[t],
  so that after every t the pooled rate is the largest rate of the window, exactly. A count grows by at most one spike
  a step, and so does the maximum: the train stays one of spikes.
- ``or``: a spike wherever one is in the window, step by step. The rate is too high wherever neurons take turns.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.config import MaxPoolRule
from spikedet.snn.layers import Convolution, over_steps, pair


class SpikeOp(nn.Module):
    """An operation on whole spike trains: ``forward(list of [K, N, C, H, W]) -> [K, N, C', H', W']``.

    Concat and Add read several; the others read the first.
    """

    def forward(self, trains: list[Tensor]) -> Tensor:
        raise NotImplementedError


class Upsample(SpikeOp):
    """Nearest-neighbour upsampling by a whole factor."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, trains: list[Tensor]) -> Tensor:
        return trains[0].repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)


class Concat(SpikeOp):
    """Concatenation over channels."""

    def forward(self, trains: list[Tensor]) -> Tensor:
        return torch.cat(trains, 2)


class Slice(SpikeOp):
    """Channels ``[start, stop)``."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, trains: list[Tensor]) -> Tensor:
        return trains[0][:, :, self.start : self.stop]


class Add(SpikeOp):
    """Sum of spike trains, exact whatever their thetas are, because spikes carry theta."""

    def forward(self, trains: list[Tensor]) -> Tensor:
        return functools.reduce(torch.add, trains)


def window(pool: nn.AvgPool2d | nn.MaxPool2d) -> tuple[tuple[int, int], ...]:
    """Kernel, stride, padding and dilation of a pooling layer."""
    return tuple(map(pair, (pool.kernel_size, pool.stride, pool.padding, getattr(pool, "dilation", 1))))


class AvgPool(SpikeOp):
    """Average pooling with the settings of an ``nn.AvgPool2d``."""

    def __init__(self, pool: nn.AvgPool2d) -> None:
        super().__init__()
        self.pool = pool

    @property
    def even(self) -> bool:
        """Whether windows at borders are divided like the others."""
        return not (self.pool.ceil_mode or (pair(self.pool.padding) != (0, 0) and not self.pool.count_include_pad))

    def forward(self, trains: list[Tensor]) -> Tensor:
        return over_steps(self.pool, trains[0])


class ZeroPad(SpikeOp):
    """Zeros around the map, ``(left, right, top, bottom)``."""

    def __init__(self, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, trains: list[Tensor]) -> Tensor:
        return F.pad(trains[0], self.padding)


class LinearConv(SpikeOp, Convolution):
    """A convolution without neurons: the analog current ``W x[t] + b`` in every step of its window.

    Its mean over the window is ``W mean(x) + b``, exactly; past the window it is zero, as every train is. So a layer
    with a firing delay that reads it gets the bias T times, as often as its own.
    """

    def forward(self, trains: list[Tensor]) -> Tensor:
        return self.potential(trains[0])


@dataclass
class PoolState:
    """What a max-pooling has seen: sums of its input's train ``[N, C, H, W]``, and their maxima ``[N, C, H', W']``."""

    sums: Tensor
    best: Tensor


class MaxPool(SpikeOp):
    """Max-pooling with the settings of an ``nn.MaxPool2d``, by one of the rules above.

    It remembers, so a train may be given in pieces, each with the state that the one before has left.
    """

    def __init__(self, pool: nn.MaxPool2d, rule: MaxPoolRule = "count") -> None:
        super().__init__()
        self.pool, self.rule = pool, rule

    def forward(self, trains: list[Tensor]) -> Tensor:
        return self.advance(trains[0], self.initial_state(trains[0]))

    def initial_state(self, train: Tensor) -> PoolState:
        """Before the first step of a train ``[K, N, C, H, W]``."""
        sums = train.new_zeros(train.shape[1:])
        return PoolState(sums, self.pool(sums))

    def advance(self, train: Tensor, state: PoolState) -> Tensor:
        """The pooled train of one more piece ``[K, N, C, H, W]``; the state moves on in place."""
        if self.rule == "or" or not len(train):
            return over_steps(self.pool, train)
        sums = state.sums + train.cumsum(0)
        state.sums = sums[-1]
        best = over_steps(self.pool, sums)
        grown = best - torch.cat([state.best.unsqueeze(0), best[:-1]])
        state.best = best[-1]
        return grown

    def extra_repr(self) -> str:
        return f"rule={self.rule}"

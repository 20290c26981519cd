"""Operations between layers on bit-packed spike trains ``[K, N, H, W, bytes]``, exact whatever spikes are worth.

Where a channel would have more bits than are worth their while, and for analog currents, trains are summed instead, see
``packing``; all that is linear is computed on sums then.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.kernels.library import available, call, fields
from spikedet.snn.layers import SpikingConv, pair, window_places
from spikedet.snn.network import SpikingNetwork
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, SpikeOp, Upsample, ZeroPad, window
from spikedet.snn.packing import Channels, layer_channels, padded, sums

UNIT_BYTES = 2
"""Bits are cut apart in whole vectors of 16."""


def network_channels(network: SpikingNetwork, widest: float = math.inf) -> dict[str, Channels]:
    """What the bits of every train mean, by node; nodes that read something constant have none.

    Args:
        network: converted network.
        widest: bits of a channel beyond which a train is summed.
    """
    channels: dict[str, Channels] = {}
    for node in network.nodes:
        if isinstance(node.module, SpikingConv):
            channels[node.name] = layer_channels(node.module.theta, node.module.negative)
        elif isinstance(node.module, SpikeOp) and all(name in channels for name in node.inputs):
            channels[node.name] = combined_channels(node.module, [channels[name] for name in node.inputs], widest)
    return channels


def pooled_units(network: SpikingNetwork) -> dict[str, Tensor]:
    """``[C]``, what a spike is worth where a max-pooling can count them, by its node; 1 where there are none."""
    pooled = [node for node in network.nodes if isinstance(node.module, MaxPool)]
    channels = network_channels(network) if pooled else {}
    units = {node.name: channels[node.inputs[0]].unit for node in pooled if node.inputs[0] in channels}
    return {name: unit.where(unit > 0, 1.0) for name, unit in units.items() if unit is not None}


def why_not(module: SpikeOp, inputs: list[Channels]) -> str | None:
    """Why an operation cannot work on bits; None if it can."""
    if isinstance(module, (Upsample, Concat, Add, Slice, ZeroPad, LinearConv)):
        return None
    if isinstance(module, MaxPool):
        planes = inputs[0].planes
        if module.pool.ceil_mode:
            return "max-pooling with a partial window has no form on packed spikes"
        if planes == 0 or (module.rule == "or" and planes == 2):
            return "max-pooling of joined trains, or by OR of negative spikes, has no form on packed spikes"
        return None if module.rule == "or" or available() else "max-pooling by count needs the compiled kernels"
    if not isinstance(module, AvgPool):
        return f"{type(module).__name__} has no form on packed spikes"
    if not module.even:
        return "average pooling whose divisor changes at borders has no form on packed spikes"
    return None


def combined_channels(module: SpikeOp, inputs: list[Channels], widest: float = math.inf) -> Channels:
    """Of an operation's output; ``widest`` as in ``network_channels``."""
    if isinstance(module, MaxPool):
        return inputs[0]
    if isinstance(module, LinearConv):
        return Channels.of_sums(len(module.bias))
    if any(channels.summed for channels in inputs):
        return Channels.of_sums(_logical(module, inputs))
    made = _combined_bits(module, inputs)
    return Channels.of_sums(made.logical) if len(made.index) > widest * padded(made.logical) else made


def _logical(module: SpikeOp, inputs: list[Channels]) -> int:
    """Channels of the train that an operation sends."""
    if isinstance(module, Concat):
        return sum(channels.logical for channels in inputs)
    return module.stop - module.start if isinstance(module, Slice) else inputs[0].logical


def _combined_bits(module: SpikeOp, inputs: list[Channels]) -> Channels:
    """The same if it is made of bits."""
    if isinstance(module, Concat):
        offsets = [sum(c.logical for c in inputs[:i]) for i in range(len(inputs))]
        index = torch.cat([c.index + offset for c, offset in zip(inputs, offsets, strict=True)])
        return Channels(_logical(module, inputs), index, torch.cat([c.value for c in inputs]))
    if isinstance(module, Add):
        return Channels(inputs[0].logical, torch.cat([c.index for c in inputs]), torch.cat([c.value for c in inputs]))
    (channels,) = inputs
    if isinstance(module, Slice):
        return _sliced(module, channels)
    if isinstance(module, AvgPool):
        height, width = pair(module.pool.kernel_size)
        places = height * width
        worth = 1.0 / (module.pool.divisor_override or places)
        return Channels(channels.logical, channels.index.repeat(places), channels.value.repeat(places) * worth)
    return channels


def combine(
    module: SpikeOp,
    trains: list[Tensor],
    inputs: list[Channels],
    memory: dict[str, Any] | None = None,
    *,
    summed: bool = False,
) -> Tensor:
    """An operation on packed trains.

    Args:
        module: the operation.
        trains: its inputs, bits ``[K, N, H, W, bytes]`` or sums ``[K, N, H, W, C]``, each as ``inputs`` says.
        inputs: what their bits mean.
        memory: what a max-pooling remembers of the pieces before, changed in place; None for a whole train.
        summed: whether the output is.
    """
    if summed:
        trains = [sums(train, channels) for train, channels in zip(trains, inputs, strict=True)]
    first, *_ = trains
    if isinstance(module, Upsample):
        return first.repeat_interleave(module.factor, 2).repeat_interleave(module.factor, 3)
    if isinstance(module, ZeroPad):
        return F.pad(first, (0, 0, *module.padding))
    if summed:
        return module([train.movedim(-1, 2) for train in trains]).movedim(2, -1).contiguous()
    if isinstance(module, AvgPool):
        return torch.cat(_bits_by_place(module.pool, first), -1)
    if isinstance(module, Slice):
        kept = _kept_units(module, inputs[0]).nonzero().flatten()
        return first.unflatten(-1, (-1, UNIT_BYTES))[..., kept, :].flatten(-2)
    if isinstance(module, MaxPool):
        if module.rule == "or":
            return functools.reduce(torch.bitwise_or, _bits_by_place(module.pool, first))
        return _grown_maximum(module.pool, first, inputs[0].planes, {} if memory is None else memory)
    return torch.cat(trains, -1)


def _sliced(module: Slice, channels: Channels) -> Channels:
    kept = _kept_units(module, channels).repeat_interleave(8 * UNIT_BYTES)
    index, value = channels.index[kept] - module.start, channels.value[kept]
    inside = (index >= 0) & (index < module.stop - module.start) & (value != 0)
    return Channels(_logical(module, [channels]), index * inside, value * inside)


def _kept_units(module: Slice, channels: Channels) -> Tensor:
    """Which units of 16 bits hold a channel of the slice."""
    index, spikes = channels.index.view(-1, 8 * UNIT_BYTES), channels.value.view(-1, 8 * UNIT_BYTES) != 0
    return ((index >= module.start) & (index < module.stop) & spikes).any(1)


def _bits_by_place(pool: nn.AvgPool2d | nn.MaxPool2d, train: Tensor) -> list[Tensor]:
    """The bits of each place of a pooling window, ``[K, N, H', W', bytes]`` each; none where it hangs over the edge."""
    kernel, stride, padding, dilation = window(pool)
    height, width = window_places((train.shape[2], train.shape[3]), kernel, stride, padding, dilation)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = kernel, stride, padding, dilation
    train = F.pad(train, (0, 0, pw, pw, ph, ph))
    return [
        train[:, :, y * dh : y * dh + sh * (height - 1) + 1 : sh, x * dw : x * dw + sw * (width - 1) + 1 : sw]
        for y in range(kh)
        for x in range(kw)
    ]


class _MaxCount(ctypes.Structure):
    _fields_ = fields(
        "steps images height width planes plane_bytes kernel_h kernel_w stride_h stride_w "
        "padding_h padding_w dilation_h dilation_w out_h out_w"
    )


def _grown_maximum(pool: nn.MaxPool2d, train: Tensor, planes: int, memory: dict[str, Any]) -> Tensor:
    """The growth of each window's largest spike count, step by step."""
    steps, batch, height, width, count = train.shape
    kernel, stride, padding, dilation = window(pool)
    out_hw = window_places((height, width), kernel, stride, padding, dilation)
    channels = 8 * count // planes
    if not memory:
        memory["counts"] = torch.zeros(batch, height, width, channels, dtype=torch.int16)
        memory["best"] = torch.zeros(batch, *out_hw, channels, dtype=torch.int16)
    out = torch.empty((steps, batch, *out_hw, count), dtype=torch.uint8)
    train = train.contiguous()
    sizes = (steps, batch, height, width, planes, count // planes, *kernel, *stride, *padding, *dilation, *out_hw)
    call("max_count", _MaxCount(*sizes), train, memory["counts"], memory["best"], out)
    return out

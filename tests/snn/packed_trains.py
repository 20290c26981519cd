"""Random spikes, dense and as bits."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from spikedet.snn.packing import Channels, layer_channels, pack

channel_counts = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 130]))


def spikes_of(*shape: int, signed: bool = False, density: float = 0.3) -> Tensor:
    """Random spikes in {0, 1}, or {-1, 0, 1}."""
    spikes = (torch.rand(shape) < density).float()
    return spikes * torch.randint(0, 2, shape).mul(2).sub(1) if signed else spikes


def places(bits: Tensor) -> Tensor:
    """Bits ``[..., bytes]`` one by one, ``[..., 8 bytes]`` of 0 and 1, slowly."""
    return torch.stack([(bits[..., i // 8] >> i % 8) & 1 for i in range(8 * bits.shape[-1])], -1).float()


def dense_train(channels: Channels, bits: Tensor) -> Tensor:
    """The train that packed bits ``[K, N, H, W, bytes]`` represent, by ``Channels.dense``."""
    return torch.stack([channels.dense(step) for step in places(bits)])


def layer(count: int, height: int, width: int, *, signed: bool = False) -> tuple[Channels, Tensor, Tensor]:
    """Random spikes of a layer: what its bits mean, the bits, and the dense train ``[3, 2, C, H, W]``."""
    theta = torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (count,))]
    spikes = spikes_of(3, 2, count, height, width, signed=signed)
    return layer_channels(theta, signed), pack(spikes, negative=signed), spikes * theta.view(-1, 1, 1)

"""Convolutions of whole numbers in bytes with 8-bit weights, through oneDNN as torch brings it; on the CPU.

Sums are exact integers; weights are rounded to 8 bits, with a scale for every output channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.snn.backends.native.layers import LEVELS
from spikedet.snn.layers import SpikingConv
from spikedet.snn.network import SpikingNetwork


def can_convolve_bytes(network: SpikingNetwork) -> bool:
    """Whether torch has these kernels here, and the network's weights are where they work."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    return on_cpu and torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qconv2d_pointwise")


class ByteConvolution:
    """One layer's convolution of spike counts.

    Args:
        layer: its geometry.
        units: ``[C_in]``, what a spike of each input channel is worth.
        weight: ``[C, C_in / groups, k, k]`` for values, not counts: the mean of what was sent.
        bias: ``[C]``.
        steps: D, by which counts are divided in a mean.
    """

    def __init__(self, layer: SpikingConv, units: Tensor, weight: Tensor, bias: Tensor, steps: int) -> None:
        self.layer, self._bias = layer, bias
        per_group = (units.detach() / steps).view(layer.groups, 1, -1, 1, 1)
        for_counts = (weight.unflatten(0, (layer.groups, -1)) * per_group).flatten(0, 1)
        largest = for_counts.abs().amax((1, 2, 3))
        self._scale = torch.where(largest > 0, largest / LEVELS, 1.0)
        self._zero = torch.zeros(len(bias), dtype=torch.int64)
        self.rounded = (for_counts / self._scale.view(-1, 1, 1, 1)).round().to(torch.int8)
        geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
        self._geometry = geometry
        self._packed = torch.ops.onednn.qconv_prepack(self.rounded, self._scale, 1.0, 0, *geometry, None)

    @property
    def scale(self) -> Tensor:
        """``[C]``: a weight is about ``scale * rounded``."""
        return self._scale

    def __call__(self, counts: Tensor) -> Tensor:
        """``[N, C_in, H, W]`` uint8 -> ``[N, C, H', W']`` float32."""
        x = counts.contiguous(memory_format=torch.channels_last)
        made: Tensor = torch.ops.onednn.qconv2d_pointwise(
            *(x, 1.0, 0, self._packed, self._scale, self._zero, self._bias, *self._geometry),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return made

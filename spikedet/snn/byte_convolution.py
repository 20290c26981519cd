"""Convolutions of whole numbers in bytes with 8-bit weights, through oneDNN as torch brings it; on the CPU.

Sums are exact integers; weights are rounded to 8 bits, with a scale for every output channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikedet.snn.backends.native.layers import quantize
from spikedet.snn.layers import SpikingConv
from spikedet.snn.network import SpikingNetwork


def can_convolve_bytes(network: SpikingNetwork) -> bool:
    """Whether torch has these kernels here, and the network's weights are where they work."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qconv2d_pointwise")
    return there and network.device.type == "cpu"


class ByteConvolution:
    """One layer's convolution of spike counts.

    Args:
        layer: its geometry.
        units: ``[C_in]``, what a spike of each input channel is worth.
        weight: ``[C, C_in / groups, k, k]`` for values, not counts.
        bias: ``[C]``.

    Attributes:
        rounded, scale: int8 weights and the scale ``[C]``; a weight is about ``scale * rounded``.
    """

    def __init__(self, layer: SpikingConv, units: Tensor, weight: Tensor, bias: Tensor) -> None:
        self.layer, self._bias = layer, bias
        self.rounded, self.scale = quantize(weight * layer.by_input(units.detach()))
        self._zero = torch.zeros(len(bias), dtype=torch.int64)
        self._geometry = (list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups)
        self._packed = torch.ops.onednn.qconv_prepack(self.rounded, self.scale, 1.0, 0, *self._geometry, None)

    def __call__(self, counts: Tensor) -> Tensor:
        """``[N, C_in, H, W]`` uint8 -> ``[N, C, H', W']`` float32."""
        x = counts.contiguous(memory_format=torch.channels_last)
        return torch.ops.onednn.qconv2d_pointwise(
            *(x, 1.0, 0, self._packed, self.scale, self._zero, self._bias, *self._geometry),
            *(1.0, 0, torch.float32, "none", [], ""),
        )

"""Spiking convolutions prepared for the compiled kernels: packed weights, explicit state, one call per chunk."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.common.errors import ConfigError
from spikedet.config import Mode
from spikedet.kernels.library import call, fields, pointer
from spikedet.snn.layers import NeuronState, SpikingConv
from spikedet.snn.packing import Channels, layer_channels, padded

ROW_BUDGET = 1280 * 2**10
"""Bytes of one block's weight rows that stay in a core's second-level cache beside the spikes."""
LISTED = 2**26
"""Input neurons of one part of a call. Larger calls are cut into parts: their lists of spikes, 4 bytes a spike, take at
most 256 MiB, or what one map takes that is larger."""
LEVELS = 127
"""Largest 8-bit weight; the kernels' 16-bit sums hold 256 of them."""


class _Steps(ctypes.Structure):
    _fields_ = fields(
        "steps silent tail images height width channels "
        "*bias *theta *scale *u *count *lower *current ~current_decay ~potential_decay hard *spikes"
    )


class _Convolution(ctypes.Structure):
    _fields_ = fields(
        "height width bytes kernel_h kernel_w stride_h stride_w padding_h padding_w dilation_h dilation_w "
        "*bits *rows block *quads quad_block at_once"
    )


class PackedConv:
    """One layer's weights as the kernels read them; its states are ``[N, H, W, C padded]``.

    Args:
        layer: the spiking convolution.
        inputs: what its input's bits mean; None if its input is constant.
        mode: float32 weights (exact) or 8-bit ones, scaled per output channel (fast).
        padding: of the convolution; the layer's own unless given.
    """

    def __init__(
        self,
        layer: SpikingConv,
        inputs: Channels | None,
        mode: Mode,
        *,
        padding: tuple[int, ...] | None = None,
    ) -> None:
        if not len(layer.weight) == len(layer.bias) == len(layer.theta):
            raise ValueError(f"as many biases and thresholds as filters expected, {len(layer.weight)}")
        self.layer, self.inputs = layer, inputs
        self._padding = padding or layer.padding
        self._u0 = layer.u0.detach()
        self.outputs = layer_channels(layer.theta, layer.negative)
        self.channels = padded(len(layer.theta))
        pad = self.channels - len(layer.theta)
        self._theta = F.pad(layer.theta.detach(), (0, pad), value=float("inf")).contiguous()
        lower = layer.lower
        self._lower = None if lower is None else F.pad(lower.detach(), (0, pad), value=-float("inf")).contiguous()
        self._bias = F.pad(layer.bias.detach(), (0, pad)).contiguous()
        self._scale, self._rows, self._quads = torch.ones(self.channels), None, None
        self._block = self._quad_block = 0
        self.way = 0
        if inputs is not None and not inputs.summed:
            weight = F.pad(inputs.fold(layer.whole()), (0, 0, 0, 0, 0, 0, 0, pad))
            if mode == "fast":
                weight, self._scale = quantize(weight)
            self._pack(weight)

    _rows: Tensor | None
    _quads: Tensor | None

    def _pack(self, weight: Tensor) -> None:
        channels, cin, height, width = weight.shape
        self._block = row_block(channels, cin * height * width * weight.element_size())
        blocks = weight.view(channels // self._block, self._block, cin, height, width)
        self._rows = blocks.permute(0, 3, 4, 2, 1).contiguous()
        if weight.dtype == torch.int8 and call("has_dense"):
            self._quad_block = min(64, channels)
            quads = weight.view(channels // self._quad_block, self._quad_block, cin // 4, 4, height, width)
            self._quads = quads.permute(0, 4, 5, 2, 1, 3).contiguous()

    @property
    def has_dense(self) -> bool:
        """Whether the kernels may also take the dense way."""
        return self._quads is not None

    def maps_at_once(self, input_hw: tuple[int, int]) -> int:
        """Input maps of this height and width whose spikes are listed together."""
        assert self.inputs is not None
        return max(LISTED // max(input_hw[0] * input_hw[1] * 8 * self.inputs.bytes, 1), 1)

    def state(self, batch: int, input_hw: tuple[int, int]) -> NeuronState:
        """Before the first step.

        Raises:
            ConfigError: the input map is larger than lists of spikes can say in 32 bits: 2^32 neurons, or as many bytes
                of weight rows for one of its rows.
        """
        if self.inputs is not None and self._rows is not None:
            (height, width), channels = input_hw, 8 * self.inputs.bytes
            if max(height, self._block * self._rows.element_size()) * width * channels >= 2**32:
                raise ConfigError(
                    f"an input map of {height} x {width} with {channels} channels is too large for the native backend; "
                    "use smaller images or --backend torch"
                )
        return self.initial_state(batch, self.layer.output_shape(batch, *input_hw, padding=self._padding)[2:])

    def initial_state(self, batch: int, output_hw: tuple[int, int]) -> NeuronState:
        """Before the first step, for output maps of this height and width."""
        pad = self.channels - len(self.layer.theta)
        u0 = F.pad(self._u0 if self._u0.ndim == 1 else self._u0.permute(1, 2, 0), (0, pad))
        u = torch.empty(batch, *output_hw, self.channels).copy_(u0)
        signed, leaky = (torch.zeros_like(u) if self.layer.neuron == kind else None for kind in ("signed", "clif"))
        return NeuronState(u, signed, leaky)

    @torch.no_grad()
    def constant_state(self, x: Tensor) -> NeuronState:
        """The same for a constant input ``[N, C, H, W]``, convolved here."""
        drive = self.layer.potential(x.contiguous(memory_format=torch.channels_last).unsqueeze(0))[0]
        state = self.state(len(x), (x.shape[-2], x.shape[-1]))
        state.drive = self._padded(drive)
        return state

    def window(self, state: NeuronState, bits: Tensor | None, T: int) -> Tensor:
        """The spikes of a whole window of T steps ``[T, N, H', W', bytes]``, those of a delayed layer too."""
        return self.run(state, bits, T, self.layer.delay)

    def run(self, state: NeuronState, bits: Tensor | None, steps: int, tail: int) -> Tensor:
        """Spikes ``[steps + tail - silent, N, H, W, bytes]`` in bits; the state moves on in place.

        The input is bits or sums, as ``inputs`` says.
        """
        batch, height, width, _ = state.u.shape
        silent = self.layer.silent_steps(state.step, steps + tail)
        out = torch.empty((steps + tail - silent, batch, height, width, self.outputs.bytes), dtype=torch.uint8)
        state.step += steps + tail
        window = _Steps(
            *(steps, silent, tail, batch, height, width, self.channels),
            *map(pointer, (self._bias, self._theta, self._scale, state.u, state.count, self._lower, state.current)),
            *(*self.layer.decays, int(self.layer.reset == "hard"), pointer(out)),
        )
        # Kernels look at no size again.
        assert bits is None or bits.shape[:2] == (steps, batch)
        assert state.drive is None or state.drive.shape == state.u.shape
        if bits is None or not steps:
            if state.drive is None:
                window.steps, window.tail = 0, steps + tail
            call("neurons", window, state.drive, 1)
        elif bits.is_floating_point():
            v = self._dense(bits)
            assert v.numel() == steps * state.u.numel()
            call("neurons", window, v, 0)
        else:
            self._convolve(window, bits.contiguous())
        return out

    @torch.no_grad()
    def _dense(self, sums: Tensor) -> Tensor:
        """Potentials ``[K, N, H', W', C padded]`` of a train of sums ``[K, N, H, W, C_in]``."""
        layer = self.layer
        x = sums.flatten(0, 1).permute(0, 3, 1, 2)
        v = F.conv2d(x, layer.weight, layer.bias, layer.stride, self._padding, layer.dilation, layer.groups)
        return self._padded(v)

    def _padded(self, v: Tensor) -> Tensor:
        """Potentials ``[K, C, H, W]`` -> contiguous ``[K, H, W, C padded]``."""
        v, pad = v.permute(0, 2, 3, 1), self.channels - v.shape[1]
        return (F.pad(v, (0, pad)) if pad else v).contiguous()

    def _convolve(self, window: _Steps, bits: Tensor) -> None:
        assert self._rows is not None and self.inputs is not None and bits.shape[-1] == self.inputs.bytes
        layer = self.layer
        convolution = _Convolution(
            *(bits.shape[2], bits.shape[3], bits.shape[4], *layer.weight.shape[2:]),
            *(*layer.stride, *self._padding, *layer.dilation),
            *(pointer(bits), pointer(self._rows), self._block, pointer(self._quads), self._quad_block),
            self.maps_at_once((bits.shape[2], bits.shape[3])),
        )
        if self._rows.dtype == torch.float32:
            call("convolve_float", window, convolution)
        else:
            call("convolve_int8", window, convolution, self.way)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit weights and the scale ``[C]`` of each output channel: ``weight`` is about ``scale * int8``."""
    largest = weight.abs().amax((1, 2, 3))
    scale = torch.where(largest > 0, largest / LEVELS, 1.0)
    return (weight / scale.view(-1, 1, 1, 1)).round().to(torch.int8), scale


def row_block(channels: int, row_column_bytes: int) -> int:
    """Channels summed together: as many as divide the layer and keep a block's rows within the cache."""
    fitting = [b for b in (192, 128, 64, 32, 16) if channels % b == 0 and b * row_column_bytes <= ROW_BUDGET]
    return fitting[0] if fitting else min(b for b in (16, 32) if channels % b == 0)

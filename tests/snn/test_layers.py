"""Spiking convolutions piece by piece, and the linear operations on spike trains."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from snn_reference import dyadic, spiking_conv
from torch import nn
from torch.nn import functional as F

from spikedet.snn import Readout
from spikedet.snn.layers import broadcast
from spikedet.snn.operations import Add, AvgPool, Concat, Upsample
from spikedet.snn.surrogate import fire


def test_initial_potential_is_half_a_threshold() -> None:
    torch.manual_seed(0)
    layer = spiking_conv(2, 4)
    assert torch.equal(layer.u0, layer.theta / 2)
    state = layer.initial_state((3, 4, 2, 5))
    assert state.u.shape == (3, 4, 2, 5)
    assert torch.equal(state.u, broadcast(layer.theta / 2).expand(3, 4, 2, 5))
    assert state.count is None
    assert state.step == 0


def test_signed_state_counts() -> None:
    state = spiking_conv(2, 4, neuron="signed").initial_state((1, 4, 2, 2))
    assert state.count is not None
    assert not state.count.any()


@pytest.mark.parametrize("neuron", ["if", "signed"])
@pytest.mark.parametrize("delay", [0, 1, 3])
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_pieces_give_the_spikes_of_the_whole(neuron: str, delay: int, cuts: list[int]) -> None:
    """Any way to cut time, the delay's steps included, and the multi-step ``fire`` with the same window."""
    torch.manual_seed(sum(cuts))
    T = sum(cuts)
    layer = spiking_conv(2, 4, neuron=neuron, delay=delay)
    v = dyadic(T, 2, 4, 3, 2, low=-12, high=16)
    past = torch.zeros(delay, 2, 4, 3, 2)
    state = layer.initial_state(v.shape[1:])
    pieces = [layer.run(part, state) for part in [*v.split(cuts), past]]
    whole = fire(v, broadcast(layer.u0), broadcast(layer.theta), signed=neuron == "signed", delay=delay)
    assert torch.equal(torch.cat(pieces), whole)
    assert state.step == T + delay


def test_a_piece_within_the_delay_has_no_spikes() -> None:
    layer = spiking_conv(2, 4, delay=3)
    state = layer.initial_state((1, 4, 3, 2))
    assert layer.run(torch.ones(2, 1, 4, 3, 2), state).shape == (0, 1, 4, 3, 2)
    assert layer.run(torch.ones(2, 1, 4, 3, 2), state).shape == (1, 1, 4, 3, 2)


def test_a_run_leaves_input_and_parameters_as_they_were() -> None:
    torch.manual_seed(0)
    layer = spiking_conv(2, 4, neuron="signed")
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    v = torch.randn(5, 1, 4, 3, 2)
    kept = v.clone()
    layer.run(v, layer.initial_state(v.shape[1:]))
    assert torch.equal(v, kept)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [((1, 1), (1, 1), (1, 1), 1), ((2, 1), (0, 2), (1, 2), 2)]
)
def test_potential_is_the_convolution_of_every_step(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int
) -> None:
    torch.manual_seed(0)
    layer = spiking_conv(4, 4)
    layer.weight = nn.Parameter(dyadic(4, 4 // groups, 3, 3))
    layer.stride, layer.padding, layer.dilation, layer.groups = stride, padding, dilation, groups
    x = dyadic(3, 2, 4, 7, 8)
    out = layer.potential(x)
    for step in range(3):
        expected = F.conv2d(x[step], layer.weight, layer.bias, stride, padding, dilation, groups)
        assert torch.equal(out[step], expected)


def test_readout_is_a_convolution() -> None:
    weight, bias = dyadic(2, 4, 1, 1), dyadic(2)
    mean = dyadic(3, 4, 5, 6)
    expected = F.conv2d(mean, weight, bias, 2)
    assert torch.equal(Readout(weight, bias, stride=(2, 2), padding=(0, 0))(mean), expected)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsample_is_nearest(factor: int) -> None:
    x = dyadic(2, 3, 4, 3, 5)
    expected = F.interpolate(x.flatten(0, 1), scale_factor=factor, mode="nearest").unflatten(0, (2, 3))
    assert torch.equal(Upsample(factor)([x]), expected)


def test_concat_is_over_channels_and_add_is_a_sum() -> None:
    a, b = dyadic(2, 3, 4, 3, 5), dyadic(2, 3, 4, 3, 5)
    assert torch.equal(Concat()([a, b]), torch.cat([a, b], 2))
    assert torch.equal(Add()([a, b]), a + b)
    assert torch.equal(Add()([a, b, a]), a + b + a)


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)]
)
def test_average_pool_keeps_its_settings(pool: nn.AvgPool2d) -> None:
    x = dyadic(2, 3, 4, 5, 7)
    out = AvgPool(pool)([x])
    assert all(torch.equal(out[step], pool(x[step])) for step in range(2))


def test_operations_take_an_empty_piece() -> None:
    empty = torch.zeros(0, 1, 2, 4, 4)
    assert Upsample(2)([empty]).shape == (0, 1, 2, 8, 8)
    assert Concat()([empty, empty]).shape == (0, 1, 4, 4, 4)
    assert Add()([empty, empty]).shape == (0, 1, 2, 4, 4)


def test_broadcast_per_channel_and_per_neuron() -> None:
    assert broadcast(torch.zeros(3)).shape == (1, 3, 1, 1)
    assert broadcast(torch.zeros(3, 4, 5)).shape == (1, 3, 4, 5)

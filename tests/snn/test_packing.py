"""Bits against the spikes they represent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packed_trains import channel_counts, dense_train, spikes_of

from spikedet.kernels.library import available
from spikedet.snn import packing
from spikedet.snn.packing import layer_channels, pack, padded, unpack


@pytest.fixture(params=[True, False], ids=["compiled", "torch"], scope="module")
def way_to_unpack(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways to unpack, one after the other."""
    if request.param and not available():
        pytest.skip("the kernels cannot be compiled here")
    with pytest.MonkeyPatch.context() as monkeypatch:
        if not request.param:
            monkeypatch.setattr(packing, "available", lambda: False)
        yield


# --- one layer's spikes ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way_to_unpack")
@given(seed=st.integers(0, 2**20), count=channel_counts, signed=st.booleans(), steps=st.integers(0, 3))
def test_unpacking_gives_back_what_was_packed(seed: int, count: int, signed: bool, steps: int) -> None:
    torch.manual_seed(seed)
    spikes, theta = spikes_of(steps, 2, count, 3, 5, signed=signed), torch.rand(count) + 0.1
    bits = pack(spikes, negative=signed)
    assert bits.dtype == torch.uint8
    assert bits.shape == (steps, 2, 3, 5, padded(count) // 8 * (1 + signed))
    train = unpack(bits, theta, negative=signed)
    assert train.dtype == torch.float32
    assert torch.equal(train, spikes * theta.view(-1, 1, 1))


@pytest.mark.usefixtures("way_to_unpack")
@given(seed=st.integers(0, 2**20), count=channel_counts, signed=st.booleans())
def test_a_window_cut_from_bits_is_the_window_of_the_train(seed: int, count: int, signed: bool) -> None:
    torch.manual_seed(seed)
    spikes = spikes_of(2, 3, count, 4, 5, signed=signed)
    bits = pack(spikes, negative=signed)
    train = unpack(bits[1:, [2, 0], 1:3, :4], torch.ones(count), negative=signed)
    assert torch.equal(train, spikes[1:, [2, 0], :, 1:3, :4])


@given(seed=st.integers(0, 2**20), count=channel_counts, signed=st.booleans())
def test_channels_say_what_the_bits_are_worth(seed: int, count: int, signed: bool) -> None:
    torch.manual_seed(seed)
    spikes, theta = spikes_of(2, 1, count, 2, 3, signed=signed), torch.rand(count) + 0.1
    channels = layer_channels(theta, signed)
    bits = pack(spikes, negative=signed)
    assert channels.logical == count
    assert channels.bytes == bits.shape[-1]
    assert torch.equal(dense_train(channels, bits), spikes * theta.view(-1, 1, 1))


def test_bits_by_hand() -> None:
    """Channels 0, 9 and 15 are bit 0 of byte 0 and bits 1 and 7 of byte 1; a negative spike lies one plane further."""
    spikes = torch.zeros(1, 1, 16, 1, 2)
    spikes[0, 0, [0, 9, 15], 0, 0] = 1
    spikes[0, 0, 3, 0, 1] = -1
    assert pack(spikes, negative=True).tolist() == [[[[[1, 0b10000010, 0, 0], [0, 0, 0b1000, 0]]]]]
    assert pack(spikes, negative=False).tolist() == [[[[[1, 0b10000010], [0, 0]]]]]


def test_a_layer_of_three_channels_by_hand() -> None:
    channels = layer_channels(torch.tensor([0.5, 1.0, 2.0]), negative=True)
    assert channels.index.tolist() == 2 * [0, 1, 2, *13 * [0]]
    assert channels.value.tolist() == [0.5, 1, 2, *13 * [0], -0.5, -1, -2, *13 * [0]]
    assert channels.bytes == 4


@pytest.mark.parametrize(
    ("channels", "packed"),
    [(1, 16), (16, 16), (17, 32), (32, 32), (33, 64), (64, 64), (65, 128), (128, 128), (129, 192), (512, 512)],
)
def test_padded_channels(channels: int, packed: int) -> None:
    assert padded(channels) == packed

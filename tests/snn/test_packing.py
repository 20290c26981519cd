"""Bits against the spikes they stand for, and linear operations on bits against those on dense trains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.snn import packing
from spikedet.snn.layers import Add, AvgPool, Concat, SpikeOp, Upsample
from spikedet.snn.native.library import available
from spikedet.snn.packing import (
    Channels,
    combine,
    combined_channels,
    layer_channels,
    pack,
    padded,
    unpack,
    why_not,
)

channel_counts = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 130]))


@pytest.fixture(params=[True, False], ids=["compiled", "torch"], scope="module")
def way_to_unpack(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways to unpack, one after the other."""
    if request.param and not available():
        pytest.skip("the kernels cannot be compiled here")
    with pytest.MonkeyPatch.context() as monkeypatch:
        if not request.param:
            monkeypatch.setattr(packing, "available", lambda: False)
        yield


def spikes_of(*shape: int, signed: bool = False, density: float = 0.3) -> Tensor:
    """Random spikes in {0, 1}, or {-1, 0, 1}."""
    spikes = (torch.rand(shape) < density).float()
    return spikes * torch.randint(0, 2, shape).mul(2).sub(1) if signed else spikes


def places(bits: Tensor) -> Tensor:
    """Bits ``[..., bytes]`` one by one, ``[..., 8 bytes]`` of 0 and 1, slowly."""
    return torch.stack([(bits[..., i // 8] >> i % 8) & 1 for i in range(8 * bits.shape[-1])], -1).float()


def dense_train(channels: Channels, bits: Tensor) -> Tensor:
    """The train that packed bits ``[K, N, H, W, bytes]`` stand for, by ``Channels.dense``."""
    return torch.stack([channels.dense(step) for step in places(bits)])


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


# --- operations -----------------------------------------------------------------------------------------------------


def layer(count: int, height: int, width: int, *, signed: bool = False) -> tuple[Channels, Tensor, Tensor]:
    """Random spikes of a layer: what its bits mean, the bits, and the dense train ``[3, 2, C, H, W]``."""
    theta = torch.tensor([0.5, 1.0, 2.0])[torch.randint(0, 3, (count,))]
    spikes = spikes_of(3, 2, count, height, width, signed=signed)
    return layer_channels(theta, signed), pack(spikes, negative=signed), spikes * theta.view(-1, 1, 1)


def assert_op_works_on_bits(module: SpikeOp, *inputs: tuple[Channels, Tensor, Tensor], atol: float = 0) -> None:
    assert why_not(module) is None
    channels = combined_channels(module, [one[0] for one in inputs])
    bits = combine(module, [one[1] for one in inputs])
    expected = module([one[2] for one in inputs])
    assert bits.dtype == torch.uint8
    assert bits.shape[-1] == channels.bytes
    assert channels.bytes % 2 == 0
    assert channels.logical == expected.shape[2]
    torch.testing.assert_close(dense_train(channels, bits), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsampling(factor: int, signed: bool) -> None:
    torch.manual_seed(factor)
    assert_op_works_on_bits(Upsample(factor), layer(5, 3, 4, signed=signed))


@given(seed=st.integers(0, 2**20), counts=st.lists(channel_counts, min_size=1, max_size=3), signed=st.booleans())
def test_concatenation(seed: int, counts: list[int], signed: bool) -> None:
    torch.manual_seed(seed)
    assert_op_works_on_bits(Concat(), *(layer(count, 2, 3, signed=signed and i > 0) for i, count in enumerate(counts)))


@given(seed=st.integers(0, 2**20), count=channel_counts, terms=st.integers(1, 3), signed=st.booleans())
def test_sum(seed: int, count: int, terms: int, signed: bool) -> None:
    """Of layers with other thresholds, some of them signed."""
    torch.manual_seed(seed)
    assert_op_works_on_bits(Add(), *(layer(count, 3, 2, signed=signed and i == 0) for i in range(terms)))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(2, stride=1),
        nn.AvgPool2d(2, stride=3),
        nn.AvgPool2d(2, stride=1, padding=1),
        nn.AvgPool2d((2, 4), stride=(3, 1), padding=(1, 2)),
        nn.AvgPool2d((1, 2), stride=(2, 1), padding=(0, 1), count_include_pad=True),
        nn.AvgPool2d(2, count_include_pad=False),
        nn.AvgPool2d(2, stride=2, divisor_override=8),
    ],
    ids=str,
)
def test_average_pooling(pool: nn.AvgPool2d, signed: bool) -> None:
    """Windows of a power of two places: exact."""
    torch.manual_seed(0)
    assert_op_works_on_bits(AvgPool(pool), layer(5, 7, 6, signed=signed))


def test_average_pooling_of_nine_places() -> None:
    """Ninths are rounded once per spike here and once per sum there: 1e-6."""
    torch.manual_seed(0)
    assert_op_works_on_bits(AvgPool(nn.AvgPool2d(3, stride=1, padding=1)), layer(18, 6, 7), atol=1e-6)


@given(seed=st.integers(0, 2**20), signed=st.booleans(), first=st.integers(1, 20), second=st.integers(1, 20))
def test_operations_on_operations(seed: int, signed: bool, first: int, second: int) -> None:
    """Pool(concat(a, up(b))) + the same of others."""
    torch.manual_seed(seed)

    def joined() -> tuple[Channels, Tensor, Tensor]:
        wide, narrow = layer(first, 4, 6, signed=signed), layer(second, 2, 3)
        ops: list[tuple[SpikeOp, list[int]]] = [
            (Upsample(2), [1]),
            (Concat(), [0, 2]),
            (AvgPool(nn.AvgPool2d(2, stride=1)), [3]),
        ]
        made = [wide, narrow]
        for module, sources in ops:
            channels, bits, trains = zip(*(made[i] for i in sources), strict=True)
            made.append((combined_channels(module, [*channels]), combine(module, [*bits]), module([*trains])))
        return made[-1]

    assert_op_works_on_bits(Add(), joined(), joined())


@given(seed=st.integers(0, 2**20), count=channel_counts, signed=st.booleans())
def test_folded_weights_see_what_the_weights_see(seed: int, count: int, signed: bool) -> None:
    torch.manual_seed(seed)
    one, other = layer(count, 4, 3, signed=signed), layer(count, 4, 3)
    weight = torch.randint(-8, 9, (3, count, 3, 2)).float() / 8
    channels, bits = combined_channels(Add(), [one[0], other[0]]), combine(Add(), [one[1], other[1]])
    folded = channels.fold(weight)
    assert folded.shape == (3, 8 * channels.bytes, 3, 2)
    for step, x in zip(places(bits), Add()([one[2], other[2]]), strict=True):
        assert torch.equal(F.conv2d(step.permute(0, 3, 1, 2), folded), F.conv2d(x, weight))


class Halved(SpikeOp):
    """An operation nobody thought of."""


BORDERS = "average pooling whose divisor changes at borders has no form on packed spikes"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Upsample(2), None),
        (Concat(), None),
        (Add(), None),
        (AvgPool(nn.AvgPool2d(3, padding=1)), None),
        (AvgPool(nn.AvgPool2d(3, count_include_pad=False)), None),
        (AvgPool(nn.AvgPool2d(2, ceil_mode=True)), BORDERS),
        (AvgPool(nn.AvgPool2d(3, padding=1, count_include_pad=False)), BORDERS),
        (AvgPool(nn.AvgPool2d((1, 3), padding=(0, 1), count_include_pad=False)), BORDERS),
        (Halved(), "Halved has no form on packed spikes"),
    ],
)
def test_why_an_operation_cannot_work_on_bits(module: SpikeOp, reason: str | None) -> None:
    assert why_not(module) == reason

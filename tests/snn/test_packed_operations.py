"""Operations on bits against those on dense trains."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packed_trains import channel_counts, dense_train, layer, places
from torch import Tensor, nn
from torch.nn import functional as F

from spikedet.kernels.library import available
from spikedet.snn.operations import Add, AvgPool, Concat, MaxPool, Slice, SpikeOp, Upsample, ZeroPad
from spikedet.snn.packed_operations import combine, combined_channels, why_not
from spikedet.snn.packing import Channels, layer_channels

needs_kernels = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")


def assert_op_works_on_bits(module: SpikeOp, *inputs: tuple[Channels, Tensor, Tensor], atol: float = 0) -> None:
    assert why_not(module, [one[0] for one in inputs]) is None
    channels = combined_channels(module, [one[0] for one in inputs])
    bits = combine(module, [one[1] for one in inputs], [one[0] for one in inputs])
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
            made.append(
                (combined_channels(module, [*channels]), combine(module, [*bits], [*channels]), module([*trains]))
            )
        return made[-1]

    assert_op_works_on_bits(Add(), joined(), joined())


@given(seed=st.integers(0, 2**20), count=channel_counts, signed=st.booleans())
def test_folded_weights_see_what_the_weights_see(seed: int, count: int, signed: bool) -> None:
    torch.manual_seed(seed)
    one, other = layer(count, 4, 3, signed=signed), layer(count, 4, 3)
    weight = torch.randint(-8, 9, (3, count, 3, 2)).float() / 8
    channels, bits = (
        combined_channels(Add(), [one[0], other[0]]),
        combine(Add(), [one[1], other[1]], [one[0], other[0]]),
    )
    folded = channels.fold(weight)
    assert folded.shape == (3, 8 * channels.bytes, 3, 2)
    for step, x in zip(places(bits), Add()([one[2], other[2]]), strict=True):
        assert torch.equal(F.conv2d(step.permute(0, 3, 1, 2), folded), F.conv2d(x, weight))


class Halved(SpikeOp):
    """An operation nobody thought of."""


MAXIMA = "max-pooling with a partial window has no form on packed spikes"
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
        (Slice(0, 2), None),
        (ZeroPad((1, 0, 2, 0)), None),
        (MaxPool(nn.MaxPool2d(2)), None),
        (MaxPool(nn.MaxPool2d(2), "or"), None),
        (MaxPool(nn.MaxPool2d(2, ceil_mode=True)), MAXIMA),
        (Halved(), "Halved has no form on packed spikes"),
    ],
)
def test_why_an_operation_cannot_work_on_bits(module: SpikeOp, reason: str | None) -> None:
    assert why_not(module, [layer_channels(torch.ones(3), False)]) == reason


# --- slices, padding, maxima ------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**20),
    count=channel_counts,
    signed=st.booleans(),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_slices(seed: int, count: int, signed: bool, cut: tuple[float, float]) -> None:
    """Anywhere, not only between vectors of 16."""
    torch.manual_seed(seed)
    start, stop = sorted(round(x * (count - 1)) for x in cut)
    assert_op_works_on_bits(Slice(start, stop + 1), layer(count, 2, 3, signed=signed))


def test_a_slice_of_whole_vectors_keeps_no_other_bits() -> None:
    channels = combined_channels(Slice(32, 64), [layer_channels(torch.ones(64), True)])
    assert (channels.logical, channels.bytes, channels.planes) == (32, 2 * 4, 2)


def test_zeros_around_the_map() -> None:
    torch.manual_seed(0)
    assert_op_works_on_bits(ZeroPad((1, 0, 2, 3)), layer(5, 3, 4, signed=True))


POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(2, 1),
    nn.MaxPool2d(5, 1, 2),
    nn.MaxPool2d((2, 3), (1, 2), (1, 0)),
    nn.MaxPool2d(2, 1, 1, dilation=2),
]


@needs_kernels
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pooling_by_count(pool: nn.MaxPool2d, signed: bool) -> None:
    torch.manual_seed(0)
    for count in (3, 16, 40):
        assert_op_works_on_bits(MaxPool(pool), layer(count, 7, 6, signed=signed))


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pooling_by_or(pool: nn.MaxPool2d) -> None:
    torch.manual_seed(0)
    assert_op_works_on_bits(MaxPool(pool, "or"), layer(18, 7, 6))


@needs_kernels
def test_a_maximum_goes_on_where_the_piece_before_has_ended() -> None:
    torch.manual_seed(0)
    channels, bits, _ = layer(20, 6, 7, signed=True)
    pool, memory = MaxPool(nn.MaxPool2d(3, 2, 1)), {}  # type: ignore[var-annotated]
    whole = combine(pool, [bits], [channels])
    pieces = [combine(pool, [part], [channels], memory) for part in (bits[:1], bits[1:1], bits[1:])]
    assert torch.equal(torch.cat(pieces), whole)


def test_what_a_layers_channels_look_like() -> None:
    plain, both = (layer_channels(torch.tensor([0.5, 2.0, 1.0]), negative) for negative in (False, True))
    assert (plain.planes, both.planes) == (1, 2)
    assert plain.unit.tolist() == both.unit.tolist() == [0.5, 2.0, 1.0]  # type: ignore[union-attr]
    joined = combined_channels(Add(), [plain, layer_channels(torch.ones(3), False)])
    assert (joined.planes, joined.unit) == (0, None)
    pair = combined_channels(Concat(), [plain, both])
    assert pair.planes == 0
    assert pair.unit.tolist() == [0.5, 2.0, 1.0, 0.5, 2.0, 1.0]  # type: ignore[union-attr]
    assert why_not(MaxPool(nn.MaxPool2d(2)), [pair]) is not None
    assert why_not(MaxPool(nn.MaxPool2d(2), "or"), [both]) is not None

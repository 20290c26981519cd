"""Sums over images: the same however the images are put into batches; cross terms make the sum whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikedet.diagnosis.split import TERMS
from spikedet.diagnosis.sums import (
    CLASSES,
    LayerSums,
    ResidualSums,
    StepSums,
    ThetaSums,
    histogram_quantile,
)


def test_cross_terms_by_hand() -> None:
    sums = StepSums()
    terms = torch.zeros(len(TERMS), 1, 1, 1, 2)
    terms[0, ..., 0], terms[6, ..., 0], terms[1, ..., 1] = 2.0, -1.0, 3.0
    signal, rate = torch.full((1, 1, 1, 2), 2.0), torch.tensor([3.0, 5.0]).view(1, 1, 1, 2)
    sums.add(terms, signal, torch.full_like(rate, 4.0), rate)
    found = sums.result(7)
    assert found.t == 7 and found.signal == 4.0 and found.from_qc == 1.0
    assert found.mean_squares == {**dict.fromkeys(TERMS, 0.0), "clipping": 2.0, "quantization": 4.5, "over_firing": 0.5}
    assert (found.whole, found.cross) == (5.0, -2.0)  # ((2 - 1)^2 + 3^2) / 2, and 2 * 2 * -1 / 2
    assert found.shares["clipping"] == pytest.approx(1 / 5) and found.shares["over_firing"] == pytest.approx(-1 / 10)
    assert found.biases["quantization"] == 1.5
    assert found.relative("clipping", "over_firing") == 2.5 / 4


def test_nothing_was_added_and_no_error() -> None:
    found = StepSums().result(1)
    assert found.whole == found.signal == found.relative("clipping") == 0 and not any(found.shares.values())
    assert ResidualSums().result().fewer == 0
    empty = LayerSums("a", torch.ones(2)).result()
    assert empty.steps == () and empty.theta is not None and empty.theta.quantiles["50"] == 0
    assert LayerSums("b").result().residual is None


@given(st.integers(0, 1000), st.integers(1, 5))
def test_shares_add_up_and_batches_do_not_matter(seed: int, batch: int) -> None:
    torch.manual_seed(seed)
    terms = torch.randint(-8, 9, (len(TERMS), 5, 2, 3, 3)) / 8
    source, qc, snn = torch.randint(0, 9, (3, 5, 2, 3, 3)) / 8
    whole, parts = StepSums(), StepSums()
    whole.add(terms, source, qc, snn)
    for i in range(0, 5, batch):
        parts.add(terms[:, i : i + batch], source[i : i + batch], qc[i : i + batch], snn[i : i + batch])
    a, b = whole.result(1), parts.result(1)
    assert a.products == b.products and a.biases == b.biases and a.whole == b.whole
    assert a.cosine == pytest.approx(b.cosine, abs=1e-12)  # a mean of cosines, summed in another order
    assert a.whole == pytest.approx(float(terms.sum(0).double().square().mean()), abs=1e-12)
    if a.whole:
        assert sum(a.shares.values()) == pytest.approx(1, abs=1e-12)
    assert a.whole == pytest.approx(sum(a.mean_squares.values()) + a.cross, abs=1e-12)


def test_residuals_by_hand() -> None:
    sums, theta = ResidualSums(), torch.tensor([1.0])
    potential = torch.tensor([[-2.0, 0.5], [1.0, 3.0]]).view(2, 1, 1, 2)
    spikes = torch.tensor([[1.0, 1.0], [1.0, 4.0]]).view(2, 1, 1, 2)
    expected = torch.tensor([[0.0, 1.0], [2.0, 4.0]]).view(2, 1, 1, 2)
    sums.add(potential[:1], spikes[:1], expected[:1], theta, 4, None)
    sums.add(potential[1:], spikes[1:], expected[1:], theta, 4, None)
    found = sums.result()
    assert (found.negative, found.overflow, found.fewer, found.more) == (0.25, 0.5, 0.25, 0.25)
    assert found.by_image == (0.5, 0.5)
    assert (found.deviation_mean, found.deviation_max) == (2.0, 2.0)  # at theta exactly the distance is none
    assert (found.spikes_mean, found.spikes_max) == (1.0, 1.0)


def test_thresholds_by_hand() -> None:
    sums = ThetaSums(torch.tensor([1.0, 2.0]))
    x = torch.tensor([0.5, 1.5, -1.0, 100.0]).view(1, 2, 1, 2)
    sums.add(x, torch.tensor([2.0, 4.0, 0.0, 0.0]).view(1, 2, 1, 2), torch.tensor([2.0, 4.0, 0, 4]).view(1, 2, 1, 2), 4)
    found = sums.result()
    assert (found.clipped, found.positive) == (0.5, 0.75)
    assert (found.saturated, found.saturated_qc, found.silent, found.silent_qc) == (0.25, 0.5, 0.5, 0.25)
    assert found.dead_channels == 0.5 and found.theta == (1.0, 1.5, 2.0)
    assert found.histogram[8] == found.histogram[24] == found.histogram[CLASSES - 1] == 1


@pytest.mark.parametrize(
    ("counts", "percent", "expected"),
    [({}, 50, 0.0), ({0: 4}, 50, 1 / 16), ({0: 1, 15: 1}, 50, 1 / 16), ({0: 1, 15: 1}, 99, 1.0), ({63: 3}, 50, 4.0)],
)
def test_quantiles_of_a_histogram(counts: dict[int, int], percent: float, expected: float) -> None:
    histogram = torch.zeros(CLASSES, dtype=torch.int64)
    for place, count in counts.items():
        histogram[place] = count
    assert histogram_quantile(histogram, percent) == expected

"""The compiled activations beside the torch code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from spikedet.kernels.library import available
from spikedet.quantization import compiled
from spikedet.quantization.activation import leaky_clip, qc_quantize

pytestmark = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")

SHAPE = (3, 5, 7, 9)
every_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def values(dtype: torch.dtype, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Channels last, on both sides of every boundary."""
    torch.manual_seed(0)
    return (torch.randn(shape) * 2).to(dtype).contiguous(memory_format=torch.channels_last)


def thetas(count: int) -> Tensor:
    return torch.linspace(0.3, 3.1, count)


def both_ways(
    run: Callable[[Tensor, Tensor], Tensor], x: Tensor, theta: Tensor, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Output and gradients of x and theta, compiled and by torch."""
    torch.manual_seed(1)
    weight = torch.randn(x.shape).to(x.dtype)
    found = []
    for applies in (compiled.applies, lambda _: False):
        monkeypatch.setattr(compiled, "applies", applies)
        leaf, limit = x.clone().requires_grad_(), theta.clone().requires_grad_()
        out = run(leaf, limit)
        out.backward(weight)
        assert leaf.grad is not None and limit.grad is not None
        found.append((out.detach(), leaf.grad, limit.grad))
    return found


every_slope = pytest.mark.parametrize("slope", [0.0, 0.1, 0.3, 1.0])


@every_type
@every_slope
@pytest.mark.parametrize("count", [5, 1])
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("T", [1, 4, 8])
def test_quantize_clip(
    dtype: torch.dtype, slope: float, count: int, noise: float, T: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = values(dtype)
    assert compiled.applies(x)
    kept = torch.rand(x.shape) < noise if noise else None  # not in the memory order of x
    ours, torchs = both_ways(
        lambda a, theta: qc_quantize(a, theta, T, kept, slope=slope), x, thetas(count), monkeypatch
    )
    assert torch.equal(ours[0], torchs[0]) and torch.equal(ours[1], torchs[1])
    # Torch rounds products to bfloat16; a slope leaves more of them to add up, the larger the more.
    rounded = 2e-2 if not slope else 3e-2 if slope < 1 else 6e-2
    torch.testing.assert_close(ours[2], torchs[2], rtol=1e-5 if dtype == torch.float32 else rounded, atol=1e-4)


@every_type
@every_slope
@pytest.mark.parametrize("count", [5, 1])
def test_clip(dtype: torch.dtype, slope: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = values(dtype) * (8 if slope else 1)  # so that some are clipped from below
    ours, torchs = both_ways(lambda a, theta: leaky_clip(a, theta, slope), x, thetas(count), monkeypatch)
    assert torch.equal(ours[0], torchs[0]) and torch.equal(ours[1], torchs[1])
    torch.testing.assert_close(ours[2], torchs[2], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.25, 1.0])
def test_the_rounding_boundaries_are_those_of_torch(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to every boundary, where a fused multiply-add would round to the other side."""
    theta, T = torch.tensor([1.1, 0.7, 2.3, 0.13]), 7
    boundaries = (torch.arange(T + 1).view(1, 1, -1, 1) + 0.5) * (theta / T).view(1, -1, 1, 1)
    ulps = torch.arange(-64, 64, dtype=torch.int32).view(1, 1, 1, -1)
    x = (boundaries.view(torch.int32) + ulps).view(torch.float32)
    x = torch.cat([x, -x / slope]) if slope else x
    x = x.contiguous(memory_format=torch.channels_last)
    ours, torchs = both_ways(lambda a, limit: qc_quantize(a, limit, T, slope=slope), x, theta, monkeypatch)
    assert torch.equal(ours[0], torchs[0])
    assert len(ours[0].unique()) > 2 * T


@every_type
def test_what_is_not_a_number_stays_so(dtype: torch.dtype) -> None:
    x = values(dtype)
    x[0, 1, 2, 3] = float("nan")
    for out in (qc_quantize(x, thetas(5), 4), leaky_clip(x, thetas(5))):
        assert out.isnan().nonzero().tolist() == [[0, 1, 2, 3]]


def test_threads_change_no_bit() -> None:
    x, theta = values(torch.float32, (2, 5, 40, 40)), thetas(5)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(compiled.quantize_clip_backward(x, x, *compiled.quantize_clip(x, theta, 4, None), theta, 4))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    "x",
    [torch.zeros(2, 3, 4, 5), torch.zeros(4, 3), torch.zeros(2, 3, 4, 5, dtype=torch.float64)],
    ids=["channels first", "no images", "float64"],
)
def test_other_tensors_are_left_to_torch(x: Tensor) -> None:
    assert not compiled.applies(x)
    assert leaky_clip(x, torch.ones(3)).shape == x.shape


def test_without_a_compiler_torch_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "available", lambda: False)
    assert not compiled.applies(values(torch.float32))

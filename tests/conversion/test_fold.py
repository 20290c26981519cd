"""Folding BN: the folded convolution equals the two modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from ultralytics.nn.modules import RepConv

from spikedet.conversion.fold import fold_batch_norm, fold_branches


def made_pair(bias: bool, affine: bool, groups: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, 3, 2, 1, groups=groups, bias=bias), nn.BatchNorm2d(6, eps=1e-3, affine=affine)
    norm.running_mean = torch.randn(6) * 3
    norm.running_var = torch.rand(6) * 4 + 0.01
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return conv, norm.eval()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_folded_equals_unfolded(bias: bool, affine: bool, groups: int) -> None:
    """Against float64, to 1e-5 of the largest output: float32 rounds sums of 9 to 36 products, nothing more."""
    conv, norm = made_pair(bias, affine, groups)
    x = torch.randn(2, 4, 9, 7)
    weight, shift = fold_batch_norm(conv, norm)
    got = F.conv2d(x, weight, shift, 2, 1, groups=groups)
    expected = norm.double()(conv.double()(x.double()))
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_folding_is_rounded_once() -> None:
    conv, norm = made_pair(True, True, 1)
    weight, bias = fold_batch_norm(conv, norm)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()  # type: ignore[union-attr]
    exact = conv.weight.double() * scale.view(-1, 1, 1, 1)
    shift = (conv.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()  # type: ignore[union-attr]
    torch.testing.assert_close(weight.double(), exact, rtol=2**-24, atol=1e-12)
    torch.testing.assert_close(bias.double(), shift, rtol=2**-24, atol=1e-12)
    assert weight.dtype == bias.dtype == torch.float32


@pytest.mark.parametrize("bias", [True, False])
def test_without_bn_the_convolution_is_copied(bias: bool) -> None:
    conv = nn.Conv2d(4, 6, 3, bias=bias)
    weight, shift = fold_batch_norm(conv, None)
    assert torch.equal(weight, conv.weight)
    assert torch.equal(shift, conv.bias if conv.bias is not None else torch.zeros(6))
    weight.zero_()
    shift.fill_(1)
    assert conv.weight.all()
    assert conv.bias is None or (conv.bias != 1).all()


def test_a_float64_convolution_is_copied_too() -> None:
    conv = nn.Conv2d(4, 6, 3).double()
    weight, shift = fold_batch_norm(conv, None)
    assert weight.data_ptr() != conv.weight.data_ptr()
    assert conv.bias is not None
    assert shift.data_ptr() != conv.bias.data_ptr()


def test_the_modules_stay_as_they_were() -> None:
    conv, norm = made_pair(True, True, 1)
    before = [value.clone() for value in (*conv.state_dict().values(), *norm.state_dict().values())]
    fold_batch_norm(conv, norm)
    after = [*conv.state_dict().values(), *norm.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("identity", [False, True])
@torch.no_grad()
def test_folded_branches_equal_their_sum(identity: bool, groups: int) -> None:
    torch.manual_seed(0)
    module = RepConv(4, 4, g=groups, act=False, bn=identity).eval()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean, norm.running_var = torch.randn(4) * 3, torch.rand(4) * 4 + 0.01
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 4, 9, 7)
    square, point = module.conv1, module.conv2
    weight, bias = fold_branches((square.conv, square.bn), (point.conv, point.bn), module.bn)
    got = F.conv2d(x, weight, bias, 1, 1, groups=groups)
    expected = module.double()(x.double())
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()

"""Convolutions of bytes: exact integers of rounded weights, and the closed form's fast mode."""

from __future__ import annotations

import pytest
import torch
from snn_reference import branching_network, dyadic, random_network
from torch import nn
from torch.nn import functional as F

from spikedet.snn import Node, SpikingConv, SpikingNetwork
from spikedet.snn.byte_convolution import ByteConvolution, can_convolve_bytes
from spikedet.snn.closed_form import ClosedForm, has_closed_form
from spikedet.snn.operations import MaxPool

pytestmark = pytest.mark.skipif(
    not can_convolve_bytes(branching_network()), reason="torch has no 8-bit convolution here"
)


@pytest.mark.parametrize(
    ("channels_in", "channels", "k", "stride", "dilation", "groups"),
    [(3, 5, 3, 1, 1, 1), (16, 32, 3, 2, 1, 1), (8, 8, 3, 1, 1, 8), (12, 6, 1, 1, 1, 2), (5, 4, 3, 1, 2, 1)],
)
def test_counts_are_convolved_with_rounded_weights(
    channels_in: int, channels: int, k: int, stride: int, dilation: int, groups: int
) -> None:
    torch.manual_seed(0)
    weight, bias, theta = (
        torch.randn(channels, channels_in // groups, k, k),
        torch.randn(channels),
        torch.ones(channels),
    )
    geometry = {"stride": (stride, stride), "padding": (dilation * (k // 2),) * 2, "dilation": (dilation,) * 2}
    layer = SpikingConv(weight, bias, theta, **geometry, groups=groups)  # type: ignore[arg-type]
    units = torch.rand(channels_in) + 0.5
    made = ByteConvolution(layer, units, weight, bias)
    counts = torch.randint(0, 256, (2, channels_in, 7, 11), dtype=torch.uint8)
    rounded = made.rounded * made.scale.view(-1, 1, 1, 1)
    expected = F.conv2d(counts.float(), rounded, bias, **geometry, groups=groups)  # type: ignore[arg-type]
    assert torch.allclose(made(counts), expected, rtol=1e-4, atol=1e-3)
    values = counts * units.view(1, -1, 1, 1)
    exact = F.conv2d(values, weight, bias, **geometry, groups=groups)  # type: ignore[arg-type]
    assert float((made(counts) - exact).abs().max() / exact.abs().max()) < 0.02


def test_a_channel_without_weights_is_its_bias() -> None:
    layer = SpikingConv(
        torch.zeros(2, 3, 1, 1), torch.tensor([1.5, -2.0]), torch.ones(2), stride=(1, 1), padding=(0, 0)
    )
    made = ByteConvolution(layer, torch.ones(3), layer.weight.detach(), layer.bias.detach())
    found = made(torch.full((1, 3, 2, 2), 4, dtype=torch.uint8))
    assert found[0, :, 0, 0].tolist() == [1.5, -2.0]


def regrouped(network: SpikingNetwork, T: int, group: int = 0) -> SpikingNetwork:
    for _, layer in network.spiking():
        layer.delay = group or T
    outputs = (network.box_readouts, network.class_readouts)
    return SpikingNetwork(network.nodes, *outputs, network.strides, T, group=group, leak=0.25 if group else 0.0)


def counted(form: ClosedForm, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Spikes by node and first step of the group."""
    found: dict[str, torch.Tensor] = {}

    def watch(node: Node, spikes: torch.Tensor, first: int, steps: int) -> None:
        found[f"{node.name} {first}"] = spikes.clone()

    T = form.network.T
    assert [reading.t for reading in form(images, [1, T], watch)] == [1, T]
    return found


@pytest.mark.parametrize("group", [0, 4])
def test_fast_mode_moves_few_spikes(group: int) -> None:
    packed = differing = neurons = 0
    for seed in range(8):
        torch.manual_seed(seed)
        network, images = branching_network(), dyadic(2, 3, 8, 6, low=0)
        if seed % 2:
            network, images = random_network(seed, delays=False, signed=False, more=("max", "slice", "pad"))
        network = regrouped(network, 8, group)
        if not has_closed_form(network):
            continue
        forms = ClosedForm(network), ClosedForm(network, "fast")
        packed += len(forms[1]._packed)
        counts = [counted(form, images) for form in forms]
        assert counts[0].keys() == counts[1].keys()
        for name, exact in counts[0].items():
            differing += int((counts[1][name] != exact).sum())
            neurons += exact.numel()
            assert float((counts[1][name] - exact).abs().max()) <= 2
    assert packed > 5
    assert 0 < differing < 0.05 * neurons  # weights are rounded; every layer is fed the spikes of this run


def test_exact_mode_and_negative_spikes_take_float32() -> None:
    torch.manual_seed(1)
    network = branching_network(neuron="asymmetric")
    for _, layer in network.spiking():
        layer.slope = 1.0
    network = regrouped(network, 4)
    assert ClosedForm(network)._packed == ClosedForm(network, "fast")._packed == {}
    images = dyadic(2, 3, 8, 6)
    one, other = (next(ClosedForm(network, mode)(images, [4])) for mode in ("exact", "fast"))  # type: ignore[arg-type]
    assert torch.equal(one.spikes, other.spikes)


def test_maxima_are_taken_of_counts() -> None:
    torch.manual_seed(2)
    base = branching_network()
    skip = next(node for node in base.nodes if node.name == "skip")
    assert isinstance(skip.module, SpikingConv)
    reader = SpikingConv(torch.ones(1, 4, 1, 1), torch.zeros(1), torch.ones(1), stride=(1, 1), padding=(0, 0))
    more = [Node("most", ("skip",), MaxPool(nn.MaxPool2d(2))), Node("reader", ("most",), reader)]
    outputs = (base.box_readouts, base.class_readouts)
    network = regrouped(SpikingNetwork([*base.nodes, *more], *outputs, base.strides, 4), 4)
    assert "reader" in ClosedForm(network, "fast")._packed
    images = dyadic(1, 3, 8, 6, low=0)
    exact, fast = (counted(ClosedForm(network, mode), images) for mode in ("exact", "fast"))  # type: ignore[arg-type]
    assert float((exact["most 0"] - fast["most 0"]).abs().max()) <= 1
    assert torch.equal(fast["most 0"], F.max_pool2d(fast["skip 0"], 2))

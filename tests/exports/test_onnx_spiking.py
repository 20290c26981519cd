"""Spiking networks in onnxruntime: the spikes of exact mode, all of them, for every neuron, delay, pooling and join."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from exported_graphs import assert_same, expected_spiking, run_onnx, subject
from snn_reference import branching_network, dyadic, random_network, readout, spiking_conv
from torch import Tensor, nn

pytest.importorskip("onnxruntime")

from spikedet.exports.onnx_model import onnx_model
from spikedet.snn import IMAGE, Node, SpikingNetwork
from spikedet.snn.operations import AvgPool, Concat, LinearConv, MaxPool

MORE = ("max", "slice", "pad", "analog")


def networks(count: int, **how: bool) -> Iterator[tuple[int, SpikingNetwork, Tensor]]:
    for seed in range(count):
        yield seed, *random_network(seed, more=MORE, **how)


@pytest.mark.slow
@pytest.mark.parametrize(("delays", "signed"), [(False, False), (False, True), (True, False), (True, True)])
def test_no_spike_differs_on_a_hundred_random_networks(delays: bool, signed: bool) -> None:
    """25 networks in each of four kinds; read at two time steps."""
    fired = 0
    for seed, network, images in networks(25, delays=delays, signed=signed):
        expected = expected_spiking(network, images, (3, 8))
        assert_same(run_onnx(onnx_model(subject(network, images, t="3,8")), images), expected, seed)
        fired += int(expected["spikes_t8"].sum())
    assert fired > 1000


@pytest.mark.parametrize("delays", [False, True])
def test_unrolled_it_is_the_same(delays: bool) -> None:
    for seed, network, images in networks(5, delays=delays, signed=True):
        model = onnx_model(subject(network, images, t="2,8", unroll=True))
        assert not any(node.op_type == "Scan" for node in model.graph.node)
        assert_same(run_onnx(model, images), expected_spiking(network, images, (2, 8)), seed)


@pytest.mark.parametrize("rule", ["count", "or"])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 1, 1)])
def test_every_rule_of_max_pooling(rule: str, pool: nn.MaxPool2d) -> None:
    torch.manual_seed(0)
    images = dyadic(3, 3, 9, 7, low=0)
    nodes = [
        Node("stem", (IMAGE,), spiking_conv(3, 4)),
        Node("max", ("stem",), MaxPool(pool, rule)),  # type: ignore[arg-type]
        Node("deep", ("max",), spiking_conv(4, 4)),
        Node("box", ("deep",), readout(4)),
        Node("class", ("max",), readout(4)),
    ]
    network = SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 6)
    expected = expected_spiking(network, images, (1, 6))
    assert_same(run_onnx(onnx_model(subject(network, images, t="1,6")), images), expected)


def test_what_is_constant_meets_trains() -> None:
    """The image, convolved without neurons and pooled, is joined with spikes, and read through a delay."""
    torch.manual_seed(1)
    images = dyadic(2, 3, 8, 6, low=0)
    linear = spiking_conv(3, 4)
    nodes = [
        Node("analog", (IMAGE,), LinearConv(linear.weight.data, linear.bias.data, stride=(1, 1), padding=(1, 1))),
        Node("small", ("analog",), MaxPool(nn.MaxPool2d(2))),
        Node("stem", (IMAGE,), spiking_conv(3, 4, stride=2, delay=2)),
        Node("concat", ("small", "stem"), Concat()),
        Node("deep", ("concat",), spiking_conv(8, 4, delay=1)),
        Node("box", ("deep",), readout(4)),
        Node("class", ("concat",), readout(8)),
    ]
    network = SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 5)
    for unroll in (False, True):
        model = onnx_model(subject(network, images, t="2,5", unroll=unroll))
        assert_same(run_onnx(model, images), expected_spiking(network, images, (2, 5)))


@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("unroll", [False, True])
def test_leaky_neurons_with_a_current(reset: str, unroll: bool) -> None:
    """C-LIF with dyadic decays, behind the image and behind other neurons."""
    torch.manual_seed(4)
    images = dyadic(2, 3, 8, 6, low=0)
    how = {"neuron": "clif", "reset": reset, "decays": (0.5, 0.75)}
    nodes = [
        Node("stem", (IMAGE,), spiking_conv(3, 4, **how)),
        Node("deep", ("stem",), spiking_conv(4, 4, **how)),
        Node("box", ("deep",), readout(4)),
        Node("class", ("stem",), readout(4)),
    ]
    network = SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 6)
    expected = expected_spiking(network, images, (2, 6))
    assert int(expected["spikes_t6"].min()) > 0
    assert_same(run_onnx(onnx_model(subject(network, images, t="2,6", unroll=unroll)), images), expected)


def test_a_delay_beyond_the_window_and_one_time_step() -> None:
    network = branching_network((9, 8, 0, 1))
    images = dyadic(2, 3, 8, 8, low=0)
    for t in ("8", "1"):
        expected = expected_spiking(network, images, (int(t),))
        assert_same(run_onnx(onnx_model(subject(network, images, t=t)), images), expected)


def test_the_batch_is_free() -> None:
    network = branching_network()
    images = dyadic(5, 3, 8, 8, low=0)
    model = onnx_model(subject(network, images))
    for count in (1, 5):
        assert_same(run_onnx(model, images[:count]), expected_spiking(network, images[:count], (8,)))


def test_pooling_without_an_operator_is_refused_by_name() -> None:
    from spikedet.common.errors import ExportError

    images = dyadic(1, 3, 8, 8, low=0)
    pool = AvgPool(nn.AvgPool2d(2, divisor_override=3))
    nodes = [
        Node("stem", (IMAGE,), spiking_conv(3, 4)),
        Node("pool", ("stem",), pool),
        Node("box", ("pool",), readout(4)),
        Node("class", ("pool",), readout(4)),
    ]
    network = SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 4)
    with pytest.raises(ExportError, match="pool: average pooling with a divisor of its own"):
        onnx_model(subject(network, images))

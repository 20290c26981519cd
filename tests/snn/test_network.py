"""The graph: windows, latency, who reads whom, tensors in and out."""

from __future__ import annotations

import copy

import pytest
import torch
from snn_reference import branching_network, dyadic, random_network, reference, spiking_conv
from torch import Tensor
from torch.nn import functional as F

from spikedet.common.errors import SpikedetError
from spikedet.quantization import qc_quantize
from spikedet.snn import IMAGE, Node, SpikingNetwork, qc_forward, simulate
from spikedet.snn.network import layer_activation
from spikedet.snn.operations import AvgPool, Concat, Upsample


@pytest.mark.parametrize(("delay", "value"), [(0, -0.75), (3, -0.75), (4, -1.0)])
def test_a_neuron_that_waits_sends_as_many_negative_spikes_as_positive_ones(delay: int, value: float) -> None:
    layer = spiking_conv(1, 1, neuron="asymmetric", slope=1.0, delay=delay)
    layer.theta.data.fill_(1.0)
    assert layer_activation(layer, torch.full((1, 1, 1, 1), -1.2), 4).item() == value


def test_without_delay_latency_is_t() -> None:
    assert branching_network().latency(5) == 5


@pytest.mark.parametrize(
    ("delays", "latency"),  # stem, skip, down, deep; the paths are stem-skip and stem-down-deep
    [((1, 0, 0, 0), 1), ((1, 1, 1, 1), 3), ((0, 5, 1, 1), 5), ((2, 1, 0, 3), 5)],
)
def test_latency_adds_the_delays_of_the_longest_path(delays: tuple[int, int, int, int], latency: int) -> None:
    assert branching_network(delays).latency(4) == latency + 4


def test_depth_is_that_of_the_longest_way() -> None:
    assert branching_network().depth == 3  # stem, down, deep


def test_windows_begin_when_the_latest_input_does() -> None:
    network = branching_network((1, 5, 2, 1))
    assert network.starts == {
        "stem": 0,
        "skip": 1,
        "down": 1,
        "deep": 3,
        "up": 4,
        "concat": 4,
        "sum": 6,
        "pool": 4,
        "box": 6,
        "class": 4,
    }


def test_the_reference_begins_its_windows_at_the_same_steps() -> None:
    network, images = random_network(3, delays=True, signed=False)
    assert reference(network, images, 2).begins == network.starts


def test_consumers_names_every_reader() -> None:
    readers = {name: [n.name for n in nodes] for name, nodes in branching_network().consumers().items()}
    assert readers[IMAGE] == ["stem"]
    assert readers["stem"] == ["skip", "down", "concat"]
    assert readers["up"] == ["concat", "sum"]
    assert readers["box"] == []


def test_only_operations_on_the_image_alone_are_constant() -> None:
    nodes = [
        Node("pooled", (IMAGE,), AvgPool(torch.nn.AvgPool2d(2))),
        Node("grown", ("pooled",), Upsample(2)),
        Node("conv", (IMAGE,), spiking_conv(3, 4)),
        Node("mixed", ("grown", "conv"), Concat()),
    ]
    network = SpikingNetwork(nodes, ["mixed"], ["mixed"], torch.tensor([1.0]), 4)
    assert [network.is_constant(n) for n in (IMAGE, "pooled", "grown", "conv", "mixed")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("t", [[1, 2], 2, ()], ids=str)
def test_a_network_is_called_on_images(t: list[int] | int) -> None:
    network, images = random_network(0, delays=True, signed=False)
    found = network(images, t)
    assert list(found) == ([2] if t == 2 else list(t) or [network.T])
    for reading in simulate(network, images, found, T=network.T):
        assert found[reading.t].maps.keys() == reading.maps.keys()
        assert all(torch.equal(found[reading.t].maps[name], logits) for name, logits in reading.maps.items())
    with pytest.raises(ValueError, match=r"time steps must lie in 1\.\.T"):
        network(images, t=[network.T + 1])


def test_spiking_yields_the_layers_in_order() -> None:
    assert [node.name for node, _ in branching_network().spiking()] == ["stem", "skip", "down", "deep"]


def test_tensors_round_trip() -> None:
    torch.manual_seed(0)
    source = random_network(5, delays=False, signed=True)[0]
    other = random_network(5, delays=False, signed=True)[0]
    for parameter in other.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    other.load_tensors(source.tensors())
    assert source.tensors().keys() == other.tensors().keys()
    assert all(torch.equal(value, other.tensors()[name]) for name, value in source.tensors().items())
    assert "layer.0.weight" in source.tensors()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("stem.weight"), "stem.weight"),
        (lambda t: t.update({"stray.bias": torch.zeros(1)}), "stray.bias"),
        (lambda t: t.update({"down.theta": torch.ones(5)}), "down.theta"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: object, message: str) -> None:
    network = branching_network()
    tensors = dict(network.tensors())
    change(tensors)  # type: ignore[operator]
    with pytest.raises(RuntimeError, match=message):
        network.load_tensors(tensors)


def test_a_copy_of_a_network_has_layers_of_its_own() -> None:
    torch.manual_seed(0)
    network = branching_network()
    twin = copy.deepcopy(network)
    for parameter in twin.parameters():
        torch.nn.init.zeros_(parameter)
    assert all(p.any() for p in network.parameters())
    assert all(not node.module.weight.any() for node, _ in twin.spiking())


def expected_activations(network: SpikingNetwork, x: Tensor, T: int | None) -> dict[str, Tensor]:
    """The branching network by hand."""

    def layer(name: str, x: Tensor, stride: int = 1) -> Tensor:
        module = dict((node.name, layer) for node, layer in network.spiking())[name]
        potential = F.conv2d(x, module.weight, module.bias, stride, 1)
        if T is None:
            return potential.clamp_min(0).minimum(module.theta.view(1, -1, 1, 1))
        return qc_quantize(potential, module.theta, T)

    stem = layer("stem", x)
    up = F.interpolate(layer("deep", layer("down", stem, 2)), scale_factor=2)
    box, kind = (next(n.module for n in network.nodes if n.name == name) for name in ("box", "class"))
    boxes = F.conv2d(layer("skip", stem) + up, box.weight, box.bias)
    return {"box": boxes, "class": F.conv2d(F.avg_pool2d(torch.cat([stem, up], 1), 2), kind.weight, kind.bias)}


@pytest.mark.parametrize("T", [1, 2, 8, None])
def test_qc_forward_is_the_network_of_activations(T: int | None) -> None:
    torch.manual_seed(0)
    network, images = branching_network(), dyadic(2, 3, 8, 6, low=0)
    values = qc_forward(network, images, T)
    for name, expected in expected_activations(network, images, T).items():
        assert torch.equal(values[name], expected)
    assert values["up"].shape == (2, 4, 8, 6)


def test_first_layer_fires_at_the_quantized_rate() -> None:
    """Its input is constant, so the spikes count up to the QC activation's level exactly."""
    torch.manual_seed(0)
    for T in (1, 2, 8, 32):
        network, images = branching_network(), dyadic(1, 3, 8, 6, low=0)
        stem = reference(network, images, T).trains["stem"]
        assert torch.equal(stem.sum(0) / T, qc_forward(network, images, T)["stem"])
        readings = list(simulate(network, images, [T]))
        assert readings[0].spikes.shape == (1,)


@pytest.mark.parametrize(
    ("image_hw", "factor", "node", "given"),
    [
        ((7, 6), 2, "concat", "4x7x6 and 4x8x6"),
        ((0, 6), 2, "stem", "3x0x6"),
        ((8, 6), 10**20, "up", "4x4x3"),
        ((8, 6), 2**62, "up", "4x4x3"),
    ],
)
def test_images_that_do_not_fit_are_refused(image_hw: tuple[int, int], factor: int, node: str, given: str) -> None:
    network = branching_network()
    network.nodes[4].module.factor = factor  # type: ignore[assignment]
    expected = f"{node}: cannot use inputs of {given} (images of {image_hw[0]} x {image_hw[1]}); use another size"
    with pytest.raises(SpikedetError) as caught:
        network.shapes(image_hw)
    assert str(caught.value) == expected

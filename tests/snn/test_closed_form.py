"""Spikes without simulation against the simulator; dyadic weights, so every comparison is exact."""

from __future__ import annotations

import pytest
import torch
from snn_reference import branching_network, dyadic, random_network
from torch import Tensor, nn

from spikedet.costs.operations import OperationCounter
from spikedet.snn import Node, SpikingNetwork, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.closed_form import ClosedForm, has_closed_form
from spikedet.snn.operations import Add, MaxPool


def regrouped(network: SpikingNetwork, T: int, group: int = 0, leak: float = 0.0, delay: int = 0) -> SpikingNetwork:
    """The same layers; all of them wait."""
    for _, layer in network.spiking():
        layer.delay = delay or group or T
    outputs = (network.box_readouts, network.class_readouts)
    return SpikingNetwork(network.nodes, *outputs, network.strides, T, group=group, leak=leak)


def assert_same(network: SpikingNetwork, images: Tensor, exact: bool = True) -> float:
    """Logits, spikes and synaptic operations after every time step; returns how many of these there were."""
    backend, steps, hw = TorchBackend(network), range(1, network.T + 1), (images.shape[-2], images.shape[-1])
    slow, fast = (OperationCounter(network, b, hw, network.T) for b in (backend, None))
    slow.begin(len(images)), fast.begin(len(images))
    expected = list(simulate(network, images, steps, backend=backend, watch=slow))
    found = list(ClosedForm(network)(images, steps, fast.count_whole))
    assert [reading.t for reading in found] == list(steps)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.spikes, other.spikes), one.t
        for name, logits in other.maps.items():
            assert torch.allclose(one.maps[name], logits, rtol=0, atol=0.0 if exact else 1e-5), (one.t, name)
    assert torch.equal(fast.sops, slow.sops) and torch.equal(fast.spikes, slow.spikes)
    return float(slow.sops.sum())


@pytest.mark.parametrize("T", [1, 2, 4, 8])
def test_a_network_that_waits_needs_no_simulation(T: int) -> None:
    tried = 0
    for seed in range(14):
        network, images = random_network(seed, delays=False, signed=False, more=("max", "slice", "pad"))
        network = regrouped(network, T, delay=T + seed % 2)
        if has_closed_form(network):  # maxima of sums have none
            tried += 1
            assert_same(network, images, exact=False)
    assert tried > 5


@pytest.mark.parametrize(("T", "group", "leak"), [(8, 4, 0.25), (4, 1, 0.5), (6, 2, 1.0), (12, 4, 0.0)])
def test_membranes_carry_over_from_group_to_group(T: int, group: int, leak: float) -> None:
    operations = []
    for seed in range(6):
        network, images = random_network(seed, delays=False, signed=False)
        operations.append(assert_same(regrouped(network, T, group, leak), images, exact=False))
    assert sum(count > 0 for count in operations) > 3


def test_logits_are_the_same_bits_where_everything_is_exact() -> None:
    torch.manual_seed(3)
    assert_same(regrouped(branching_network(), 1), dyadic(2, 3, 8, 6, low=0))


@pytest.mark.parametrize("group", [0, 4])
def test_negative_spikes_and_potentials_of_every_neuron(group: int) -> None:
    torch.manual_seed(4)
    network = branching_network(neuron="asymmetric")
    for node, layer in network.spiking():
        layer.slope = 1.0 if node.name != "skip" else 0.25
    stem = dict((node.name, layer) for node, layer in network.spiking())["stem"]
    stem.u0 = nn.Parameter(dyadic(len(stem.theta), 8, 6, low=0, high=4))
    assert_same(regrouped(network, 8, group, 0.25 if group else 0.0), dyadic(2, 3, 8, 6), exact=False)


def test_more_spikes_than_steps_and_none_at_all() -> None:
    torch.manual_seed(5)
    network, images = branching_network(), dyadic(2, 3, 8, 6, low=0)
    for (_, layer), bias in zip(network.spiking(), (64.0, -64.0, 64.0, 64.0), strict=True):
        layer.bias.data.fill_(bias)
    assert_same(regrouped(network, 4), images, exact=False)


def pooled(rule: str, *, summed: bool) -> SpikingNetwork:
    """A maximum of the spikes of a layer, or of a sum of two layers."""
    network = branching_network()
    skip = next(node for node in network.nodes if node.name == "skip")
    more = [Node("twice", ("skip", "skip"), Add()), Node("most", ("twice",), MaxPool(nn.MaxPool2d(2), rule))]  # type: ignore[arg-type]
    alone = [Node("most", (skip.name,), MaxPool(nn.MaxPool2d(2), rule))]  # type: ignore[arg-type]
    nodes = [*network.nodes, *(more if summed else alone)]
    return regrouped(SpikingNetwork(nodes, network.box_readouts, network.class_readouts, network.strides, 4), 4)


def with_negative_spikes(network: SpikingNetwork, name: str) -> SpikingNetwork:
    """The same network; one of its layers sends negative spikes too."""
    layer = dict((node.name, layer) for node, layer in network.spiking())[name]
    layer.neuron, layer.slope = "asymmetric", 1.0
    return network


def test_a_maximum_of_positive_spikes_in_a_network_that_sends_negative_ones_too() -> None:
    torch.manual_seed(7)
    network = with_negative_spikes(pooled("count", summed=False), "stem")
    assert has_closed_form(network)
    assert_same(network, dyadic(2, 3, 8, 6), exact=False)


def test_what_must_be_simulated() -> None:
    assert not has_closed_form(with_negative_spikes(pooled("count", summed=False), "skip"))
    assert has_closed_form(regrouped(branching_network(), 4))
    assert has_closed_form(pooled("count", summed=False))
    assert not has_closed_form(pooled("count", summed=True))
    assert not has_closed_form(pooled("or", summed=False))
    assert not has_closed_form(regrouped(branching_network(neuron="signed"), 4))
    early = branching_network((4, 4, 3, 4))
    assert not has_closed_form(SpikingNetwork(early.nodes, early.box_readouts, early.class_readouts, early.strides, 4))
    with pytest.raises(ValueError, match="before it has all its input"):
        ClosedForm(early)


def test_time_steps_beyond_the_window_are_refused() -> None:
    form = ClosedForm(regrouped(branching_network(), 4))
    for steps in ([], [0], [5]):
        with pytest.raises(ValueError, match=r"1\.\.T = 4"):
            list(form(dyadic(1, 3, 8, 6), steps))


def test_another_batch_and_the_same_again() -> None:
    torch.manual_seed(6)
    form, images = ClosedForm(regrouped(branching_network(), 8, 4, 0.5)), dyadic(2, 3, 8, 6, low=0)
    first = next(form(images, [8]))
    next(form(dyadic(5, 3, 4, 4, low=0), [8]))
    again = next(form(images, [8]))
    assert torch.equal(first.spikes, again.spikes)
    assert all(torch.equal(first.maps[name], again.maps[name]) for name in first.maps)

"""Firing rates of every layer against the slow simulator; dyadic weights, so every comparison is exact."""

from __future__ import annotations

import pytest
import torch
from native_runs import supported_networks
from snn_reference import branching_network, dyadic, random_network, reference

from spikedet.snn import Node, SpikingConv, SpikingNetwork, layer_rates, make_backend
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.layers import broadcast
from spikedet.snn.operations import MaxPool
from spikedet.snn.rates import waits


def slow_rates(network: SpikingNetwork, images: torch.Tensor, T: int) -> dict[str, torch.Tensor]:
    spikes = reference(network, images, T).spikes
    return {node.name: spikes[node.name].sum(0) * broadcast(layer.theta) / T for node, layer in network.spiking()}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_rates_are_the_mean_of_the_slow_simulators_spikes(seed: int, signed: bool) -> None:
    network, images = random_network(seed, delays=False, signed=signed)
    expected = slow_rates(network, images, 8)
    found = layer_rates(network, images, 8, TorchBackend(network))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_delayed_branches_answer_the_rates_of_their_own_windows() -> None:
    torch.manual_seed(2)
    network, images = branching_network((2, 0, 1, 0), "if"), dyadic(2, 3, 8, 6, low=0)
    expected = slow_rates(network, images, 4)
    found = layer_rates(network, images, 4, TorchBackend(network))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_and_dense_trains_give_the_same_rates(signed: bool) -> None:
    for network, images in supported_networks(5, delays=False, signed=signed):
        dense, packed = (layer_rates(network, images, 8, b) for b in (TorchBackend(network), make_backend(network)))
        assert all(torch.equal(dense[name], packed[name]) for name in dense)


# --- neurons that wait for all their input ----------------------------------------------------------------------------


def waiting(seed: int, delay: int) -> tuple[SpikingNetwork, torch.Tensor]:
    """A random network whose neurons all have this firing delay."""
    network, images = random_network(seed, delays=False, signed=False, more=("max", "slice", "pad"))
    for _, layer in network.spiking():
        layer.delay = delay
    return SpikingNetwork(network.nodes, network.box_readouts, network.class_readouts, network.strides, 8), images


@pytest.mark.parametrize("delay", [8, 9])
@pytest.mark.parametrize("seed", range(8))
def test_neurons_that_wait_need_no_simulation(seed: int, delay: int) -> None:
    network, images = waiting(seed, delay)
    assert waits(network, 8)
    expected, found = reference(network, images, 8).trains, layer_rates(network, images, 8)
    sends = (SpikingConv, MaxPool)
    assert found.keys() == {node.name for node in network.nodes if isinstance(node.module, sends)}
    assert all(torch.equal(rate, expected[name].mean(0)) for name, rate in found.items())


@pytest.mark.parametrize(
    ("delays", "T", "neuron"), [((8, 8, 7, 8), 8, "if"), ((8,) * 4, 9, "if"), ((8,) * 4, 8, "signed")]
)
def test_others_are_simulated(delays: tuple[int, int, int, int], T: int, neuron: str) -> None:
    assert not waits(branching_network(delays, neuron), T)


def test_maxima_that_are_not_those_of_counts_are_simulated() -> None:
    network, _ = waiting(0, 8)
    pool = Node("pool", (network.nodes[0].name,), MaxPool(torch.nn.MaxPool2d(2), "or"))
    nodes = [*network.nodes, pool]
    assert not waits(SpikingNetwork(nodes, network.box_readouts, network.class_readouts, network.strides, 8), 8)

"""Firing rates of every layer against the slow simulator; dyadic weights, so every comparison is exact."""

from __future__ import annotations

import pytest
import torch
from native_runs import supported_networks
from snn_reference import branching_network, dyadic, random_network, reference

from spikedet.snn import SpikingNetwork, layer_rates, make_backend
from spikedet.snn.dense import TorchBackend
from spikedet.snn.layers import broadcast


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

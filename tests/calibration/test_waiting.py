"""Firing delays where they mend most: the error falls, the latency is kept, waits that cost nothing are taken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from spikedet.calibration.waiting import spend_latency_
from spikedet.snn import SpikingNetwork, simulate
from spikedet.snn.network import qc_forward

sys.path.append(str(Path(__file__).parent.parent / "snn"))
from snn_reference import branching_network, dyadic


def far(network: SpikingNetwork, images: Tensor) -> float:
    """Mean relative square error of the outputs."""
    *_, reading = simulate(network, images, [network.T], T=network.T)
    wanted = qc_forward(network, images, network.T)
    errors = [(z - wanted[name]).square().mean() / wanted[name].var() for name, z in reading.maps.items()]
    return float(torch.stack(errors).mean())


@pytest.fixture
def network() -> SpikingNetwork:
    torch.manual_seed(11)
    return branching_network()


@pytest.mark.parametrize("latency", [9, 10, 12])
def test_the_steps_are_spent_within_the_latency_and_the_error_falls(network: SpikingNetwork, latency: int) -> None:
    images = dyadic(4, 3, 8, 6, low=0)
    before = far(network, images)
    spent = spend_latency_(network, images, latency)
    assert spent == {node.name: layer.delay for node, layer in network.spiking() if layer.delay}
    assert spent and 8 < network.latency(8) <= latency
    assert far(network, images) < before


def test_it_ends_where_nothing_is_left_to_mend(network: SpikingNetwork) -> None:
    for _, layer in network.spiking():
        layer.delay = 8
    network.set_delays_({})
    images, latency = dyadic(2, 3, 8, 6, low=0), network.latency(8)
    assert far(network, images) == pytest.approx(0, abs=1e-10)
    assert spend_latency_(network, images, latency + 10) == {}
    assert network.latency(8) == latency


def test_a_branch_that_others_wait_for_waits_for_nothing(network: SpikingNetwork) -> None:
    """With ``deep`` two steps behind, ``skip`` may wait as long without a step of latency."""
    network.set_delays_({"deep": 2})
    spent = spend_latency_(network, dyadic(4, 3, 8, 6, low=0), network.latency(8))
    assert set(spent) <= {"skip"} and spent.get("skip", 0) <= 2
    assert network.latency(8) == 10

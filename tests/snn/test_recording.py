"""What is recorded of a layer is what the simulation does."""

from __future__ import annotations

import pytest
import torch
from tiny_detector import T, chain

from spikedet.conversion import load_spiking
from spikedet.snn import IMAGE
from spikedet.snn.layers import broadcast
from spikedet.snn.recording import record_layer

IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_first_layer_step_by_step() -> None:
    network, _ = load_spiking(chain()["fine"])
    node, layer = next(network.spiking())
    assert node.inputs == (IMAGE,)
    record = record_layer(network, IMAGES, node.name, T)
    with torch.no_grad():
        current, u = layer.potential(IMAGES[None])[0, 0], broadcast(layer.u0)[0]
        for spikes, potential in zip(record.spikes, record.potential, strict=True):
            u = u + current
            fired = (u >= broadcast(layer.theta)[0]).float()
            u = u - fired * broadcast(layer.theta)[0]
            assert torch.equal(spikes, fired)
            torch.testing.assert_close(potential, u / broadcast(layer.theta)[0])


def test_a_delayed_layer_is_silent_at_first() -> None:
    network, _ = load_spiking(chain()["copied"])
    for _, layer in network.spiking():
        layer.delay = 2
    network.starts = network._window_starts()
    names = [node.name for node, _ in network.spiking()]
    record = record_layer(network, IMAGES, names[2], T)
    assert record.spikes.shape == record.potential.shape
    assert len(record.spikes) == T + 2
    assert not record.spikes[:2].any() and record.spikes[2:].any()


def test_an_unknown_layer() -> None:
    network, _ = load_spiking(chain()["copied"])
    with pytest.raises(ValueError, match="no spiking layer is called 'head'"):
        record_layer(network, IMAGES, "head", T)

"""The observer, layer by layer, against whole networks computed directly; what it holds, and how often it computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from calibration_graphs import (
    PLENTY,
    batches,
    branching,
    moved,
    node_of,
    sample_images,
    settings,
    straight,
    trains_of,
    visits,
)

from spikedet.calibration import calibrate_network
from spikedet.calibration.coarse import layer_outputs
from spikedet.calibration.observer import Observer, peak_bytes
from spikedet.calibration.store import ByteStore
from spikedet.snn import IMAGE, Readout, SpikingConv, SpikingNetwork, qc_forward, simulate
from spikedet.snn.backends.native.layers import PackedConv
from spikedet.snn.layers import NeuronState

KINDS = [("if", 0), ("if", 1), ("signed", 0), ("signed", 1), ("signed", 3), ("mixed", 0), ("mixed", 2)]


@pytest.mark.parametrize(("neuron", "delay"), KINDS)
@pytest.mark.parametrize("budget", [0.0, PLENTY], ids=["disk", "memory"])
@pytest.mark.parametrize("size", [5, 2], ids=["one batch", "several batches"])
def test_inputs_and_targets_are_those_of_the_whole_networks(neuron: str, delay: int, budget: float, size: int) -> None:
    """Dyadic numbers: equal to the bit."""
    torch.manual_seed(1)
    reference = branching(neuron, delay)
    network, images = moved(reference), sample_images()
    trains, values = trains_of(network, images), qc_forward(reference, images, reference.T)
    readings = next(iter(simulate(network, images, [network.T], T=network.T)))
    observer = Observer(reference, network, images, ByteStore(budget))
    chosen, compared = [3, 0, 4], set()
    for node in visits(observer, batches(len(images), size)):
        (source,) = node.inputs
        seen = observer.train(source, chosen)
        assert torch.equal(seen.expand(network.T, *seen.shape[1:]), trains[source][:, chosen])
        assert torch.equal(observer.activation(source, chosen), values[source][chosen])
        assert torch.equal(observer.target(node, chosen), values[node.name][chosen])
        assert observer.map_hw[source] == tuple(values[source].shape[-2:])
        if isinstance(node.module, Readout):
            assert torch.equal(layer_outputs(observer, node, range(len(images)))[0], readings.maps[node.name])
        else:
            assert torch.equal(layer_outputs(observer, node, chosen)[0], trains[node.name].mean(0)[chosen])
        compared.add(node.name)
    assert compared == {"stem", "skip", "down", "deep", "last", "box", "class"}
    assert trains["last"].unique().numel() > 2


def test_signed_spikes_are_among_those_compared() -> None:
    torch.manual_seed(1)
    assert (trains_of(moved(branching("signed")), sample_images())["last"] < 0).any()


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_a_window_is_the_same_cut_from_the_map(neuron: str) -> None:
    torch.manual_seed(2)
    network, images = branching(neuron), sample_images()
    observer = Observer(network, network, images, ByteStore(PLENTY))
    window = (slice(1, 3), slice(0, 2))
    for node in visits(observer, batches(len(images))):
        (source,) = node.inputs
        whole, cut = observer.train(source, [4, 1]), observer.train(source, [4, 1], window)
        assert torch.equal(cut, whole[..., window[0], window[1]])


def test_what_is_constant_over_time_comes_as_one_step() -> None:
    torch.manual_seed(0)
    network, images = branching(), sample_images()
    observer = Observer(network, network, images, ByteStore(PLENTY))
    assert observer.train(IMAGE, [2]).shape == (1, 1, 3, 8, 8)
    assert observer.train("small", [2, 0]).shape == (1, 2, 3, 4, 4)


@pytest.mark.parametrize("size", [5, 2], ids=["one batch", "several batches"])
def test_targets_before_a_layer_was_observed_are_the_same(size: int) -> None:
    torch.manual_seed(0)
    network, images = branching(), sample_images()
    observer = Observer(network, network, images, ByteStore(PLENTY))
    stem = node_of(network, "stem")
    early = observer.target(stem, [0, 3])
    observer.observe(stem, batches(len(images), size))
    assert torch.equal(observer.target(stem, [0, 3]), early)


def test_nothing_is_kept_after_its_last_reader() -> None:
    torch.manual_seed(0)
    network, images = branching(), sample_images()
    observer = Observer(network, network, images, ByteStore(PLENTY))
    held = {}
    for node in visits(observer, batches(len(images))):
        held[node.name] = {name.split()[1] for name in observer.store.names()}
    assert held == {
        "stem": {"stem"},
        "skip": {"stem", "skip"},
        "down": {"stem", "skip", "down"},
        "deep": {"stem", "skip", "down", "deep"},
        "last": {"stem", "skip", "deep", "last"},
        "box": {"skip", "deep", "last"},
        "class": {"last"},
    }
    assert observer.store.names() == set()
    assert (observer.store.bytes(), observer.store.bytes(on_disk=True)) == (0, 0)


class WatchedStore(ByteStore):
    """Remembers the most bytes it ever held."""

    peak = 0

    def create(self, name: str, shape: Sequence[int]) -> Any:
        made = super().create(name, shape)
        self.peak = max(self.peak, self.bytes() + self.bytes(on_disk=True))
        return made


@pytest.mark.parametrize("budget", [0.0, PLENTY], ids=["disk", "memory"])
@pytest.mark.parametrize("T", [4, 8, 9])
@pytest.mark.parametrize("make", [branching, partial(straight, 5)], ids=["branching", "straight"])
def test_the_estimated_peak_is_what_was_held(make: Any, T: int, budget: float) -> None:
    torch.manual_seed(0)
    network, images = make(T=T), sample_images(3)
    values = qc_forward(network, images[:1], T)
    shapes = {node.name: tuple(values[node.name].shape[1:]) for node, _ in network.spiking()}
    store = WatchedStore(budget)
    for _ in visits(Observer(network, network, images, store), batches(3)):
        pass
    assert store.peak == peak_bytes(network, shapes, 3) > 0


def potentials(network: SpikingNetwork, monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often a whole coarse calibration computes the potential of each layer, dense or by events."""
    calls: Counter[int] = Counter()
    potential, window = SpikingConv.potential, PackedConv.window

    def counted(layer: SpikingConv, x: torch.Tensor) -> torch.Tensor:
        calls[layer.weight.data_ptr()] += 1
        return potential(layer, x)

    def counted_window(packed: PackedConv, state: NeuronState, bits: torch.Tensor | None, T: int) -> torch.Tensor:
        calls[packed.layer.weight.data_ptr()] += bits is not None  # a constant's potential was computed densely
        return window(packed, state, bits, T)

    with monkeypatch.context() as patch:
        patch.setattr(SpikingConv, "potential", counted)
        patch.setattr(PackedConv, "window", counted_window)
        calibrate_network(network, sample_images(4), settings(), fine=False)
    return calls


def test_the_work_is_linear_in_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    short, long = (potentials(straight(layers), monkeypatch) for layers in (4, 8))
    assert long.total() == 2 * short.total()
    assert max(long.values()) == max(short.values()) <= 3

"""Calibration on compiled kernels against calibration without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calibration_graphs import PLENTY, batches, branching, moved, sample_images, settings, straight, trains_of, visits

from spikedet.calibration import calibrate_network, observer
from spikedet.calibration.observer import Observer
from spikedet.calibration.report import LayerReport
from spikedet.calibration.store import ByteStore
from spikedet.kernels.library import available
from spikedet.snn import SpikingNetwork, packing, surrogate

pytestmark = pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")

GRAPHS = {
    "on bits": lambda: branching(image=False),
    "on bits, signed and delayed": lambda: branching("signed", 1, image=False),
    "on bits, straight": lambda: straight(4),
    "on dense trains": lambda: branching("signed"),
}
IMAGES = (10, 12)  # so many of such a side


def made(graph: str) -> SpikingNetwork:
    """A network that calibration can improve."""
    torch.manual_seed(0)
    return moved(GRAPHS[graph]())


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (observer, packing, surrogate):
        monkeypatch.setattr(module, "available", lambda: False)


def calibrated(network: SpikingNetwork, *, fine: bool) -> tuple[dict[str, torch.Tensor], list[LayerReport]]:
    torch.manual_seed(1)
    done, reports = calibrate_network(network, sample_images(*IMAGES), settings(lr=1e-2), fine=fine)
    return done.tensors(), reports


@pytest.mark.parametrize("graph", GRAPHS)
def test_coarse_calibration_is_the_same_to_the_bit(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = made(graph)
    compiled, reports = calibrated(network, fine=False)
    without_kernels(monkeypatch)
    plain, expected = calibrated(network, fine=False)
    assert all(torch.equal(compiled[name], value) for name, value in plain.items())
    assert [r.coarse_before for r in reports] == [r.coarse_before for r in expected]
    assert any(not torch.equal(value, network.tensors()[name]) for name, value in plain.items())


@pytest.mark.parametrize("graph", GRAPHS)
def test_fine_calibration_is_nearly_the_same(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are summed in another order, and Adam's steps follow: 1e-4 of weights that moved by more than 0.005."""
    network = made(graph)
    before = {name: value.clone() for name, value in network.tensors().items()}
    compiled, reports = calibrated(network, fine=True)
    without_kernels(monkeypatch)
    plain, expected = calibrated(network, fine=True)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=0, atol=1e-4)
    for found, wanted in zip(reports, expected, strict=True):
        assert (found.layer, found.epochs) == (wanted.layer, wanted.epochs)
        assert found.fine_before == pytest.approx(wanted.fine_before, rel=1e-3)
        assert found.fine_after == pytest.approx(wanted.fine_after, rel=1e-3)
    weights = [name for name in before if name.endswith("weight")]
    assert max(float((plain[name] - before[name]).abs().max()) for name in weights) > 0.005
    assert any(r.fine_after < r.fine_before for r in expected)  # type: ignore[operator]


@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("if", 1), ("signed", 0), ("signed", 3)])
@pytest.mark.parametrize("size", [5, 2], ids=["one batch", "several batches"])
def test_layers_that_run_on_bits_send_the_trains_of_the_whole_network(neuron: str, delay: int, size: int) -> None:
    torch.manual_seed(1)
    reference = branching(neuron, delay, image=False)
    network, images = moved(reference), sample_images()
    trains = trains_of(network, images)
    on_bits = Observer(reference, network, images, ByteStore(PLENTY))
    assert on_bits.channels is not None
    seen: dict[str, Any] = {}
    for node in visits(on_bits, batches(len(images), size)):
        for source in node.inputs:
            train = on_bits.train(source, [3, 0, 4])
            seen[source] = torch.equal(train.expand(network.T, *train.shape[1:]), trains[source][:, [3, 0, 4]])
    assert seen == dict.fromkeys(["image", "stem", "down", "joined", "sum", "last"], True)
    assert trains["last"].unique().numel() > 2

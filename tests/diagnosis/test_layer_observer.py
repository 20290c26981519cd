"""Means, residual potentials and errors of whole networks against trains stepped through one by one; dyadic, exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from error_graphs import branching, changed, sample_images, stepped
from torch.nn import functional as F

from spikedet.common.errors import ConfigError
from spikedet.diagnosis.observe import Family, LayerObserver, ann_means, snn_means
from spikedet.diagnosis.records import LayerErrors
from spikedet.diagnosis.split import TERMS
from spikedet.snn import make_backend, qc_forward, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.layers import broadcast

KINDS: list[dict[str, Any]] = [
    {"neuron": "if"},
    {"neuron": "signed"},
    {"neuron": "asymmetric"},
    {"neuron": "mixed"},
    {"neuron": "mixed", "delay": 1},
    {"neuron": "if", "delay": 2},
    {"neuron": "signed", "delay": 1},
]


def observe(family: Family, images: torch.Tensor, steps: list[int], batch: int = 3) -> dict[str, LayerErrors]:
    observer, backend = LayerObserver(family), TorchBackend(family.snn)
    for i in range(0, len(images), batch):
        part = images[i : i + batch]
        source, qc = ann_means(family.source, part, None), ann_means(family.qc, part, family.snn.T)
        for snn in snn_means(family.snn, part, steps, backend):
            observer.add(source, qc, ann_means(family.snn, part, family.snn.T), snn)
    return {layer.layer: layer for layer in observer.results()}


@pytest.mark.parametrize("how", KINDS, ids=str)
@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_means_are_those_of_the_trains(how: dict[str, Any], backend: str) -> None:
    torch.manual_seed(3)
    network, images = changed(branching(**how), ("u0",)), sample_images()
    sent, potentials = stepped(network, images)
    for chunk in (1, 3, None):
        found = list(snn_means(network, images, [1, 2, 4], make_backend(network, backend), chunk))  # type: ignore[arg-type]
        assert [snn.t for snn in found] == [1, 2, 4]
        for snn in found:
            for node, layer in network.spiking():
                assert torch.equal(snn.means.outputs[node.name], sent[node.name][: snn.t].mean(0)), node.name
                x = layer.potential(sent[node.inputs[0]][: snn.t].mean(0)[None])[0]
                assert torch.equal(snn.means.potentials[node.name], x), node.name
            assert torch.equal(snn.means.outputs["max"], sent["max"][: snn.t].mean(0))
        assert all(torch.equal(found[-1].potentials[name], u) for name, u in potentials.items())
        assert found[0].potentials == {}


@pytest.mark.parametrize("how", KINDS, ids=str)
def test_read_outs_are_those_of_the_simulation(how: dict[str, Any]) -> None:
    torch.manual_seed(6)
    network, images = branching(**how), sample_images()
    expected = {reading.t: reading.maps for reading in simulate(network, images, [1, 2, 4], T=4)}
    for snn in snn_means(network, images, [1, 2, 4], TorchBackend(network)):
        assert all(torch.equal(snn.means.outputs[name], logits) for name, logits in expected[snn.t].items())


@pytest.mark.parametrize("how", KINDS, ids=str)
def test_the_whole_error_is_that_of_the_rates(how: dict[str, Any]) -> None:
    torch.manual_seed(5)
    qc = branching(**how)
    family, images = Family(changed(qc), qc, changed(qc, ("u0",))), sample_images()
    found = observe(family, images, [2, 4], batch=2)
    source, expected_qc = ann_means(family.source, images, None), qc_forward(qc, images, 4)
    sent, potentials = stepped(family.snn, images)
    for node, layer in family.snn.spiking():
        last, activation = found[node.name].last, F.leaky_relu(source.potentials[node.name], layer.slope)
        rate, residual = sent[node.name].mean(0), found[node.name].residual
        assert last.t == 4 and residual is not None
        assert last.whole == pytest.approx(float((rate - activation).double().square().mean()), rel=1e-12)
        assert last.from_qc == pytest.approx(float((rate - expected_qc[node.name]).double().square().mean()), rel=1e-12)
        assert last.signal == pytest.approx(float(activation.double().square().mean()), rel=1e-12)
        bias = sum(last.biases[term] for term in TERMS)
        assert bias == pytest.approx(float((rate - activation).double().mean()), abs=1e-12)
        assert residual.negative == float((potentials[node.name] < 0).double().mean())
        assert residual.overflow == float((potentials[node.name] >= broadcast(layer.theta)).double().mean())
    early = sent["stem"][:2].mean(0) - F.leaky_relu(source.potentials["stem"], next(family.snn.spiking())[1].slope)
    assert found["stem"].steps[0].whole == pytest.approx(float(early.double().square().mean()), rel=1e-12)


def test_a_network_that_is_its_own_family() -> None:
    torch.manual_seed(0)
    network = branching()
    found = observe(Family(network, network, network), sample_images(), [4])
    stem = found["stem"].last
    assert stem.mean_squares["propagated_qc"] == stem.mean_squares["propagated_rpe"] == 0
    assert stem.mean_squares["under_firing"] == stem.mean_squares["over_firing"] == 0  # constant input
    assert stem.from_qc == 0 and stem.cosine == pytest.approx(1)
    assert found["box"].residual is None and found["box"].theta is None
    assert set(found) == {"stem", "same", "deep", "last", "box", "class"}
    later = found["last"].last
    assert later.mean_squares["under_firing"] + later.mean_squares["over_firing"] > 0


def test_what_calibration_has_changed_is_no_residual_error() -> None:
    torch.manual_seed(4)
    qc = branching()
    images, snn = sample_images(), changed(qc)
    found = observe(Family(qc, qc, snn), images, [4])
    before, after = qc_forward(qc, images, 4), qc_forward(snn, images, 4)
    for node, _ in snn.spiking():
        moved = (after[node.name] - before[node.name]).double().square().mean()
        assert found[node.name].last.mean_squares["calibration"] == pytest.approx(float(moved), rel=1e-12)
    assert found["stem"].last.mean_squares["calibration"] > 0 == found["stem"].last.mean_squares["propagated_rpe"]


def test_a_silent_network() -> None:
    torch.manual_seed(0)
    network = branching()
    with torch.no_grad():
        for _, layer in network.spiking():
            layer.weight.zero_()
            layer.bias.fill_(-1.0)
    found = observe(Family(network, network, network), sample_images(), [1, 4])
    for name in ("stem", "same", "deep", "last"):
        layer = found[name]
        assert layer.last.whole == layer.last.signal == 0 and layer.last.cosine == 1
        assert (
            layer.residual is not None
            and layer.residual.fewer == layer.residual.more == 0
            and layer.residual.negative == 1
        )
        assert layer.theta is not None and layer.theta.dead_channels == layer.theta.silent == 1


def test_one_step() -> None:
    torch.manual_seed(1)
    network = branching(T=1)
    assert [step.t for step in observe(Family(network, network, network), sample_images(1), [1])["last"].steps] == [1]


def test_networks_of_other_graphs_are_refused() -> None:
    torch.manual_seed(0)
    network = branching()
    other = branching()
    other.nodes = [node for node in other.nodes if node.name != "same"]
    with pytest.raises(ConfigError, match="the source has other layers than the spiking network"):
        Family(other, network, network)
    with pytest.raises(ConfigError, match="the QC-ANN has other layers"):
        Family(network, other, network)


def test_networks_are_left_as_they_were() -> None:
    torch.manual_seed(2)
    network = branching("signed")
    before = {name: value.clone() for name, value in network.tensors().items()}
    observe(Family(network, network, network), sample_images(), [4])
    assert all(torch.equal(value, before[name]) for name, value in network.tensors().items())

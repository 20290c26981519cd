"""Residual errors injected into means: none is the QC-ANN, all of them are the SNN; dyadic, exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from error_graphs import branching, changed, sample_images

from spikedet.diagnosis.injection import ALL_BUT, ONLY, inject, ranked_layers, residual_errors, variants
from spikedet.diagnosis.observe import snn_means
from spikedet.diagnosis.ranking import Moves
from spikedet.snn import SpikingNetwork, qc_forward
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.network import Means

KINDS: list[dict[str, Any]] = [
    {"neuron": "if"},
    {"neuron": "signed", "delay": 1},
    {"neuron": "asymmetric"},
    {"neuron": "if", "pool": "or"},
]


def means_of(network: SpikingNetwork, images: torch.Tensor) -> Means:
    (found,) = snn_means(network, images, [network.T], TorchBackend(network))
    return found.means


def made(how: dict[str, Any], seed: int = 4) -> tuple[SpikingNetwork, torch.Tensor, Means]:
    torch.manual_seed(seed)
    network, images = changed(branching(**how), ("u0",)), sample_images()
    return network, images, means_of(network, images)


@pytest.mark.parametrize("how", KINDS, ids=str)
def test_all_of_them_are_the_snn_and_none_is_the_qc_ann(how: dict[str, Any]) -> None:
    network, images, snn = made(how)
    errors = residual_errors(network, snn, network.T)
    found = inject(network, images, network.T, errors).outputs
    assert all(torch.equal(found[node.name], snn.outputs[node.name]) for node in network.nodes)
    plain, qc = inject(network, images, network.T, {}).outputs, qc_forward(network, images, network.T)
    assert all(torch.equal(plain[node.name], qc[node.name]) for node in network.nodes)
    assert not torch.equal(plain["class"], found["class"])


@pytest.mark.parametrize("how", KINDS, ids=str)
def test_one_alone_and_all_but_one(how: dict[str, Any]) -> None:
    network, images, snn = made(how)
    errors, T = residual_errors(network, snn, network.T), network.T
    seen = []
    for layer, kind, outputs in variants(network, images, snn, T):
        seen.append((layer, kind))
        chosen = {n: e for n, e in errors.items() if (n == layer) == (kind == ONLY)}
        expected = inject(network, images, T, chosen).outputs
        assert all(torch.equal(outputs[node.name], expected[node.name]) for node in network.nodes), (layer, kind)
    layers = ["stem", "same", "deep", *(["max"] if "pool" in how else []), "last"]
    assert seen == [(layer, kind) for layer in layers for kind in (ONLY, ALL_BUT)]
    assert ranked_layers(network) == layers


def test_pooling_by_count_has_no_residual_error() -> None:
    network, _, snn = made({"neuron": "if"})
    assert not residual_errors(network, snn, network.T)["max"].any()


def test_moves_are_shares_of_what_all_errors_do() -> None:
    none = {"box": torch.zeros(1, 2, 1, 1), "class": torch.zeros(1, 1, 1, 1)}
    all_of_them = {"box": torch.full((1, 2, 1, 1), 2.0), "class": torch.ones(1, 1, 1, 1)}
    moves = Moves(["box", "class"])
    for _ in range(2):
        moves.add(None, none, all_of_them)
        moves.add("a", none, all_of_them)
        moves.add("b", none, {"box": torch.ones(1, 2, 1, 1), "class": torch.zeros(1, 1, 1, 1)})
        moves.add("c", none, none)
    assert [moves.share(name) for name in "abc"] == [1.0, 0.125, 0.0]


def test_nothing_moves() -> None:
    none = {"box": torch.zeros(1, 1, 1, 1)}
    moves = Moves(["box"])
    moves.add(None, none, none)
    moves.add("a", none, none)
    assert moves.share("a") == 0

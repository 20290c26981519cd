"""The penalty on firing: by hand, its gradient, and what Stage I makes of it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny_detector import IMAGE_SIZE, chain, detector
from torch import nn

from spikedet.commands.finetune import finetune
from spikedet.config import FinetuneConfig
from spikedet.conversion import to_spiking
from spikedet.costs.operations import OperationCounter, layer_synapses
from spikedet.models import activations, as_qc, load_ann
from spikedet.models.builder import ClipDetector
from spikedet.quantization.activation import per_channel
from spikedet.snn import simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.training.sparsity import FiringPenalty, operation_shares

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered_plots")]

IMAGES = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


def qc_detector(T: int = 4) -> ClipDetector:
    return as_qc(detector(), T)


def batch_norm_as_evaluated(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def test_shares_are_those_of_the_operations() -> None:
    model = qc_detector()
    network, image_hw = to_spiking(model, 4), (IMAGE_SIZE, IMAGE_SIZE)
    shares = operation_shares(network, image_hw)
    assert {f"{name}.act" for name in shares} == {name for name, _ in activations(model)}
    assert sum(shares.values()) == pytest.approx(1.0)
    layers = layer_synapses(network, image_hw)
    met = sum(layer.macs_inside for layer in layers if not layer.image_macs)
    second = next(layer for layer in layers if layer.layer == "model.1")  # alone reads the first
    assert shares["model.0"] == pytest.approx(second.macs_inside / met)


def test_it_is_the_share_of_operations_of_the_spiking_network() -> None:
    """Up to borders, where a neuron has fewer readers than its layer's mean, and to residual errors: T is large."""
    T = 64
    model = qc_detector(T).train()
    penalty = FiringPenalty(model, 1.0, IMAGE_SIZE)
    batch_norm_as_evaluated(model)
    with torch.no_grad():
        model(IMAGES)
    network = to_spiking(model.eval(), T)
    counter = OperationCounter(network, TorchBackend(network), (IMAGE_SIZE, IMAGE_SIZE), T)
    counter.begin(len(IMAGES))
    list(simulate(network, IMAGES, [T], watch=counter))
    most = sum(s.macs_inside for s in layer_synapses(network, (IMAGE_SIZE, IMAGE_SIZE)) if not s.image_macs)
    measured = counter.sops.sum().item() / (T * len(IMAGES) * most)
    assert penalty(IMAGES, {}).item() == pytest.approx(measured, rel=0.03)


def test_by_hand_and_heard_once() -> None:
    model = qc_detector().train()
    penalty = FiringPenalty(model, 2.0, IMAGE_SIZE)
    shares = operation_shares(to_spiking(model, 4), (IMAGE_SIZE, IMAGE_SIZE))
    expected = []

    def keep(module: nn.Module, _: object, output: torch.Tensor, share: float) -> None:
        expected.append(share * (output / per_channel(module.theta, 4)).abs().mean())  # type: ignore[arg-type]

    for name, activation in activations(model):
        share = shares[name.removesuffix(".act")]
        activation.register_forward_hook(lambda m, i, o, share=share: keep(m, i, o, share))
    for _ in range(2):
        expected.clear()
        model(IMAGES)
        loss = penalty(IMAGES, {})
        assert loss.item() == pytest.approx(2 * torch.stack(expected).sum().item())
    loss.backward()
    assert model.model[0].conv.weight.grad.abs().sum() > 0


def test_a_network_that_is_judged_is_not_heard() -> None:
    model = qc_detector().train()
    penalty = FiringPenalty(model, 1.0, IMAGE_SIZE)
    model(IMAGES)
    once = penalty(IMAGES, {}).item()
    model(IMAGES)
    copy.deepcopy(model).eval()(IMAGES)
    assert penalty(IMAGES, {}).item() == pytest.approx(once, rel=0.05)  # batch statistics differ, not the count


def test_stage_1_with_a_penalty_fires_less(tmp_path: Path) -> None:
    rates = []
    for sparsity in (0.0, 50.0):
        out = tmp_path / str(sparsity)
        path = finetune(
            FinetuneConfig(
                checkpoint=str(chain()["ann"]), T=4, epochs=3, batch=4, held_out=0.25, lr=1e-2, noise=0.0,
                sparsity=sparsity, precision="fp32", out=str(out),
            )
        )  # fmt: skip
        assert ("train/sparsity_loss" in (out / "qc-log.csv").read_text()) == bool(sparsity)
        rates.append(_firing(path))
    assert rates[1] < rates[0]


def _firing(path: Path) -> float:
    model = as_qc(load_ann(path)[0], 4).train()
    penalty = FiringPenalty(model, 1.0, IMAGE_SIZE)
    batch_norm_as_evaluated(model)
    with torch.no_grad():
        model(IMAGES)
    return penalty(IMAGES, {}).item()

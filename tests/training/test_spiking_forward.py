"""Stage I on firing rates: what goes forward is the spiking network's answer, what comes back the QC-ANN's gradient."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny_detector import IMAGE_SIZE, chain, detector

from spikedet.checkpoint import read_meta
from spikedet.commands.finetune import finetune
from spikedet.config import FinetuneConfig, Neuron
from spikedet.conversion import to_spiking
from spikedet.models import as_qc
from spikedet.models.postprocess import decode_head
from spikedet.snn import simulate
from spikedet.training.spiking_forward import SpikingForward

T = 3


@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("signed", 0), ("if", 1)])
def test_the_forward_answers_what_the_spiking_network_answers(neuron: Neuron, delay: int) -> None:
    """Up to float32 rounding: the mean is taken before the convolution here and in the read-out alike."""
    model, images = as_qc(detector(), T), torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    network = to_spiking(model, T, neuron=neuron, delay=delay)
    (reading,) = simulate(network, images, [T])
    expected = decode_head(
        [reading.maps[n] for n in network.box_readouts],
        [reading.maps[n] for n in network.class_readouts],
        network.strides,
    )
    quantized = model(images)[0]
    SpikingForward(neuron, delay).attach(model)
    for network_like in (model, copy.deepcopy(model)):
        found = network_like(images)[0]
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found, quantized, rtol=1e-3, atol=1e-3)


def test_gradients_are_those_of_the_qc_activation_and_bn_keeps_its_statistics() -> None:
    model, images = as_qc(detector(), T).train(), torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    before = {name: value.clone() for name, value in model.named_buffers()}
    SpikingForward().attach(model)
    maps = model(images)
    (maps["scores"].square().sum() + maps["boxes"].square().sum()).backward()
    trained = [p for n, p in model.named_parameters() if n.endswith(("conv.weight", "log_theta")) and p.requires_grad]
    gradients = [p.grad for p in trained]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert all(g.abs().sum() > 0 for g in gradients[:2])
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_stage_1_on_firing_rates_writes_a_qc_network(tmp_path: Path) -> None:
    path = finetune(
        FinetuneConfig(
            checkpoint=str(chain()["ann"]), T=T, epochs=1, batch=4, held_out=0.25, spiking_forward=True,
            neuron="signed", out=str(tmp_path),
        )
    )  # fmt: skip
    meta = read_meta(path)
    assert (meta.stage, meta.T, meta.config["finetune"]["spiking_forward"]) == ("qc", T, True)

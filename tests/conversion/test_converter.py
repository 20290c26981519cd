"""Whole detectors: the source stays as it was, and the network computes what the detector does."""

from __future__ import annotations

import pytest
import torch
from small_detectors import STEM, dyadic, dyadic_detector, logits, trained_like_
from torch import Tensor

from spikedet.conversion import to_spiking
from spikedet.models import ClipDetector, as_qc, build_detector, load_model_yaml
from spikedet.models.postprocess import decode_head
from spikedet.snn import qc_forward, simulate


@pytest.fixture(scope="module")
def nano() -> ClipDetector:
    """The shipped nano architecture with statistics as after training; not to be changed."""
    torch.manual_seed(0)
    model = build_detector(load_model_yaml("tiny-yolo-nano"), ("a", "b", "c")).eval()
    trained_like_(model)
    return model


@torch.no_grad()
def test_nano_in_rate_mode_decodes_to_the_detector(nano: ClipDetector) -> None:
    """Folding moves float32 values by some 1e-7 per layer; boxes are up to 100 pixels large: 1e-3."""
    images = torch.rand(2, 3, 64, 96)
    network = to_spiking(nano, 8)
    values = qc_forward(network, images, None)
    got = decode_head(
        [values[name] for name in network.box_readouts],
        [values[name] for name in network.class_readouts],
        network.strides,
    )
    expected, raw = nano(images)
    assert got.shape == expected.shape == (2, 4 + 3, 4 * 6 + 2 * 3)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(logits(network, values)[1], raw["scores"], rtol=1e-3, atol=1e-4)
    assert raw["scores"].std() > 0.01


@torch.no_grad()
def test_nano_spikes_approach_the_detector_as_T_grows(nano: ClipDetector) -> None:
    """The spiking output layers of the same weights; nothing is calibrated, so only the trend is sure."""
    images = torch.rand(1, 3, 64, 64)
    network = to_spiking(nano, 64)
    target = logits(network, qc_forward(network, images, None))[0]
    errors = [
        (logits(network, reading.maps)[0] - target).square().mean().item()
        for reading in simulate(network, images, [4, 16, 64])
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.1 * target.square().mean().item()


def snapshot(model: ClipDetector) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_the_source_stays_as_it_was(training: bool) -> None:
    torch.manual_seed(0)
    model = dyadic_detector(STEM, [-1, 1, "Bottleneck", [8]]).train(training)
    before, shown = snapshot(model), str(model)
    network = to_spiking(model, 4, neuron="signed", delay=1)
    for value in network.state_dict().values():
        value.fill_(7.0)  # nothing is shared
    assert str(model) == shown
    assert model.training is training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_network_is_ready_to_run() -> None:
    model = dyadic_detector(STEM)
    network = to_spiking(model, 6)
    assert network.T == 6
    assert not network.training
    assert torch.equal(network.strides, model.stride)
    assert all(torch.equal(layer.u0, layer.theta / 2) for _, layer in network.spiking())


def test_clip_and_qc_activations_convert_alike() -> None:
    model = dyadic_detector(STEM, [-1, 1, "Conv", [16, 3, 1]])
    clip, qc = to_spiking(model, 4).tensors(), to_spiking(as_qc(model, 4, noise=0.5), 4).tensors()
    assert all(torch.equal(clip[name], value) for name, value in qc.items())


@torch.no_grad()
def test_first_layer_spikes_at_the_rates_of_the_qc_model() -> None:
    """Its input is constant, so the counts are the levels; deeper layers have a residual error."""
    torch.manual_seed(0)
    model = dyadic_detector(STEM)
    images = dyadic(2, 3, 19, 13, low=0)
    network = to_spiking(model, 8)
    node, layer = next(network.spiking())
    expected = as_qc(model, 8).eval().model[0](images)
    v = layer.potential(images.unsqueeze(0)).expand(8, -1, -1, -1, -1)
    spikes = layer.run(v, layer.initial_state(v.shape[1:]))
    assert node.name == "model.0"
    assert torch.equal(spikes.mean(0) * layer.theta.view(1, -1, 1, 1), expected)

"""Models that come with ultralytics: each converts, with ReLU and LeakyReLU, and spikes as its QC-ANN says."""

from __future__ import annotations

import pytest
import torch
from small_detectors import logits, trained_like_
from torch.nn import functional as F

from spikedet.config import Activation
from spikedet.conversion import to_spiking
from spikedet.models import ClipDetector, as_qc, build_detector, load_model_yaml
from spikedet.snn import layer_rates, make_backend, qc_forward
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.operations import MaxPool

pytestmark = pytest.mark.slow

MODELS: tuple[tuple[str, Activation], ...] = (
    ("yolov3-tiny.yaml", "clip"),
    ("yolov5n.yaml", "leaky"),
    ("yolov8n.yaml", "leaky"),
    ("yolov9t.yaml", "clip"),
)


def made(name: str, activation: Activation) -> ClipDetector:
    torch.manual_seed(0)
    architecture = load_model_yaml(name, activation)
    if name == "yolov3-tiny.yaml":
        architecture = {**architecture, "width_multiple": 0.25}  # its 8 M parameters prove no more than half a million
    model = build_detector(architecture, ("a", "b")).eval()
    trained_like_(model)
    return model


@pytest.mark.parametrize(("name", "activation"), MODELS)
@torch.no_grad()
def test_rate_mode_is_the_qc_network(name: str, activation: Activation) -> None:
    """Folding moves float32 values by some 1e-7 a layer, and a value at a boundary by a level: most logits agree."""
    model, images = made(name, activation), torch.rand(1, 3, 64, 96)
    network = to_spiking(model, 8)
    assert network.neuron == ("asymmetric" if activation == "leaky" else "if")
    _, expected = as_qc(model, 8).eval()(images)
    boxes, classes = logits(network, qc_forward(network, images, 8))
    for found, wanted in ((boxes, expected["boxes"]), (classes, expected["scores"])):
        close = torch.isclose(found, wanted, rtol=1e-3, atol=1e-3).float().mean()
        assert close > 0.9, close
    _, clipped = model(images)
    boxes, _ = logits(network, qc_forward(network, images, None))
    torch.testing.assert_close(boxes, clipped["boxes"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "activation"), MODELS)
@torch.no_grad()
def test_bits_and_dense_trains_agree(name: str, activation: Activation) -> None:
    """Rates of every layer; a spike at a boundary may differ, and spreads."""
    network, images = to_spiking(made(name, activation), 6), torch.rand(1, 3, 64, 64)
    backend = make_backend(network)
    assert not backend.why.startswith("not native: model"), backend.why
    dense, packed = layer_rates(network, images, 6, TorchBackend(network)), layer_rates(network, images, 6, backend)
    differing = [((dense[n] - packed[n]).abs() > 1e-4).float().mean().item() for n in dense]
    assert sum(differing) / len(differing) < 0.01
    assert any(rate.abs().sum() > 0 for rate in packed.values())


def test_the_rule_for_maxima_is_chosen_by_name() -> None:
    network = to_spiking(made("yolov8n.yaml", "clip"), 4, max_pool="or")
    rules = {node.module.rule for node in network.nodes if isinstance(node.module, MaxPool)}
    assert rules == {"or"}


@torch.no_grad()
def test_maxima_of_averages_are_exact() -> None:
    """YOLOv9's ADown pools means of four trains, which no bit says: torch runs it, at every t the largest mean."""
    torch.manual_seed(0)
    rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "ADown", [16]], [[-1], 1, "Detect", ["nc"]]]
    architecture = {"nc": 2, "activation": "torch.nn.ReLU()", "reg_max": 4, "backbone": rows[:2], "head": rows[2:]}
    model = build_detector(architecture, ("a", "b"), theta=0.5).eval()
    trained_like_(model)
    network = to_spiking(model, 6)
    backend = make_backend(network)
    assert "max-pooling of joined trains" in backend.why
    rates = layer_rates(network, torch.rand(1, 3, 64, 64), 6, backend)
    smooth = F.avg_pool2d(rates["model.0"], 2, 1)
    assert rates["model.1.pool"].any()
    torch.testing.assert_close(rates["model.1.pool"], F.max_pool2d(smooth[:, 4:], 3, 2, 1))

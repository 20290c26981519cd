"""ANN checkpoints back as networks, and thresholds set from images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from spikedet.checkpoint import CheckpointMeta, save_checkpoint
from spikedet.common.errors import CheckpointError
from spikedet.data.dataset import DetectionDataset, Sample
from spikedet.data.transforms import to_input
from spikedet.models import (
    ClipDetector,
    activations,
    as_qc,
    build_detector,
    load_ann,
    set_largest_thetas_,
    set_mean_square_best_thetas_,
)
from spikedet.quantization import mean_square_best_theta

META = CheckpointMeta(
    stage="ann",
    model="small",
    architecture={
        "nc": 2,
        "activation": "torch.nn.ReLU()",
        "reg_max": 4,
        "backbone": [[-1, 1, "Conv", [8, 3, 2]]],
        "head": [[[-1], 1, "Detect", ["nc"]]],
    },
    class_names=("cell", "dot"),
    image_size=32,
)


@pytest.fixture
def model() -> ClipDetector:
    torch.manual_seed(0)
    made = build_detector(META.architecture, META.class_names).eval()
    for _, activation in activations(made):
        activation.set_theta(torch.rand_like(activation.theta) + 0.5)
    return made


def test_round_trip_answers_the_same(model: ClipDetector, tmp_path: Path) -> None:
    loaded, meta = load_ann(save_checkpoint(tmp_path / "ann.safetensors", model.state_dict(), META))
    x = torch.rand(1, 3, 32, 64)
    assert meta == META
    assert not loaded.training
    assert torch.equal(loaded(x)[0], model(x)[0])


def test_one_threshold_for_each_layer_becomes_that_of_its_channels(model: ClipDetector, tmp_path: Path) -> None:
    """Earlier versions could train it."""
    tensors = {n: v[:1] if n.endswith("log_theta") else v for n, v in model.state_dict().items()}
    loaded, _ = load_ann(save_checkpoint(tmp_path / "ann.safetensors", tensors, META))
    for _, activation in activations(model):
        activation.set_theta(activation.theta[:1].repeat(len(activation.theta)))
    x = torch.rand(1, 3, 32, 64)
    assert {name: value.shape for name, value in loaded.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert torch.equal(loaded(x)[0], model(x)[0])


def test_a_qc_network_comes_back_with_clips(model: ClipDetector, tmp_path: Path) -> None:
    qc = as_qc(model, 4)
    path = save_checkpoint(tmp_path / "qc.safetensors", qc.state_dict(), replace(META, stage="qc", T=4, finetuned=True))
    x = torch.rand(1, 3, 32, 64)
    assert torch.equal(load_ann(path)[0](x)[0], model(x)[0])


def test_a_converted_network_is_the_wrong_stage(model: ClipDetector, tmp_path: Path) -> None:
    meta = replace(META, stage="copied", T=4, neuron="if")
    path = save_checkpoint(tmp_path / "copied.safetensors", model.state_dict(), meta)
    with pytest.raises(CheckpointError, match=r"copied\.safetensors: a converted network \(stage copied\); expected a"):
        load_ann(path)


def test_tensors_of_another_architecture(model: ClipDetector, tmp_path: Path) -> None:
    meta = replace(META, class_names=("one", "two", "three"))
    path = save_checkpoint(tmp_path / "odd.safetensors", model.state_dict(), meta)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: its tensors do not fit its architecture"):
        load_ann(path)


@pytest.fixture
def images(tmp_path: Path) -> DetectionDataset:
    rng = np.random.default_rng(0)
    samples = []
    for name in ("a", "b", "c"):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (24, 32, 3), np.uint8))
        none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_)
        samples.append(Sample(name, path, (24, 32), *none))
    return DetectionDataset("made", "train", META.class_names, tuple(samples))


@torch.no_grad()
def test_thresholds_are_set_layer_by_layer(model: ClipDetector, images: DetectionDataset) -> None:
    """The first layer by hand; the second on what the first one's new thresholds give."""
    before = [a.theta.clone() for _, a in activations(model)]
    set_mean_square_best_thetas_(model, images, 32, 4)
    after = [a.theta for _, a in activations(model)]
    assert [theta.numel() for theta in after] == [8, 16, 16, 8, 8]
    x = to_input([images.read_image(i) for i in range(3)], 32)
    stem = model.model[0]
    first = stem.bn(stem.conv(x))
    expected = mean_square_best_theta(first, 4, theta_max=before[0])
    torch.testing.assert_close(after[0], expected)
    second = model.model[1].cv2[0][0]
    expected = mean_square_best_theta(second.bn(second.conv(stem(x))), 4, theta_max=before[1])
    torch.testing.assert_close(after[1], expected)


@torch.no_grad()
def test_thresholds_are_set_in_the_order_of_execution(images: DetectionDataset) -> None:
    """A C2f runs its bottlenecks before the convolution behind them, which its list of modules has first."""
    architecture = {**META.architecture, "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "C2f", [8, True]]]}
    model = build_detector(architecture, META.class_names).eval()
    set_mean_square_best_thetas_(model, images, 32, 4)
    heard: list[torch.Tensor] = []
    last = model.model[1].cv2
    last.act.register_forward_pre_hook(lambda _, arguments: heard.append(arguments[0]))
    model(to_input([images.read_image(i) for i in range(3)], 32))
    expected = mean_square_best_theta(heard[0], 4, theta_max=torch.full((8,), 4.0))
    torch.testing.assert_close(last.act.theta, expected)


@torch.no_grad()
def test_the_largest_activations_become_thresholds(model: ClipDetector, images: DetectionDataset) -> None:
    """The first layer by hand; the network says the same as before, because no activation is clipped below itself."""
    x = to_input([images.read_image(i) for i in range(3)], 32)
    stem, said = model.model[0], model.eval()(x)[0]
    expected = stem(x).amax((0, 2, 3))
    silent = expected == 0
    before = stem.act.theta.expand(8).clone()
    set_largest_thetas_(model, images, 32, batch=2)
    torch.testing.assert_close(stem.act.theta, torch.where(silent, before, expected))
    assert [activation.theta.numel() for _, activation in activations(model)] == [8, 16, 16, 8, 8]
    torch.testing.assert_close(model(x)[0], said, rtol=1e-4, atol=1e-4)

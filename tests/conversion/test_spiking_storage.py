"""Converted networks to disk and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_detectors import STEM, architecture, dyadic, dyadic_detector

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.conversion import load_spiking, save_spiking, to_spiking
from spikedet.snn import SpikingNetwork, simulate

LAYERS = (STEM, [-1, 1, "Bottleneck", [8]])
META = CheckpointMeta(
    stage="copied",
    model="small",
    architecture=architecture(*LAYERS),
    class_names=("cell", "dot"),
    image_size=32,
    T=6,
    neuron="signed",
    delay=2,
)


@pytest.fixture
def network() -> SpikingNetwork:
    torch.manual_seed(0)
    return to_spiking(dyadic_detector(*LAYERS), 6, neuron="signed", delay=2)


def test_round_trip_fires_the_same_spikes(network: SpikingNetwork, tmp_path: Path) -> None:
    path = save_spiking(tmp_path / "copied.safetensors", network, META)
    loaded, meta = load_spiking(path)
    assert replace(meta, graph=None) == META
    assert (loaded.T, loaded.starts) == (network.T, network.starts)
    assert loaded.tensors().keys() == network.tensors().keys()
    assert all(torch.equal(loaded.tensors()[name], value) for name, value in network.tensors().items())
    assert torch.equal(loaded.strides, network.strides)
    images = dyadic(2, 3, 19, 13, low=0)
    for got, expected in zip(simulate(loaded, images, [1, 6]), simulate(network, images, [1, 6]), strict=True):
        assert torch.equal(got.spikes, expected.spikes)
        assert all(torch.equal(got.maps[name], expected.maps[name]) for name in expected.maps)


def test_calibrated_potentials_per_neuron_and_per_channel_come_back(network: SpikingNetwork, tmp_path: Path) -> None:
    layers = [layer for _, layer in network.spiking()]
    layers[0].u0 = torch.nn.Parameter(dyadic(8, 16, 16))
    layers[1].u0 = torch.nn.Parameter(dyadic(4))
    loaded, _ = load_spiking(save_spiking(tmp_path / "fine.safetensors", network, replace(META, stage="fine")))
    shapes = [tuple(layer.u0.shape) for _, layer in loaded.spiking()]
    assert shapes[:2] == [(8, 16, 16), (4,)]
    assert all(torch.equal(one.u0, other.u0) for (_, one), other in zip(loaded.spiking(), layers, strict=True))
    images = dyadic(1, 3, 32, 32, low=0)
    assert torch.equal(next(simulate(loaded, images, [6])).spikes, next(simulate(network, images, [6])).spikes)


@pytest.mark.parametrize("stage", ["ann", "qc"])
def test_an_ann_is_the_wrong_stage(stage: str, tmp_path: Path) -> None:
    model = dyadic_detector(STEM)
    meta = replace(META, stage=stage, neuron=None, T=None)  # type: ignore[arg-type]
    path = save_checkpoint(tmp_path / "ann.safetensors", model.state_dict(), meta)
    with pytest.raises(CheckpointError, match=rf"ann\.safetensors: not a converted network \(stage {stage}\)"):
        load_spiking(path)


def test_tensors_of_another_architecture(network: SpikingNetwork, tmp_path: Path) -> None:
    other = replace(META, architecture=architecture(STEM))
    path = save_checkpoint(tmp_path / "odd.safetensors", network.tensors(), other)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: its tensors do not fit its architecture"):
        load_spiking(path)


def test_a_missing_tensor(network: SpikingNetwork, tmp_path: Path) -> None:
    tensors = dict(network.tensors())
    del tensors["model.0.theta"]
    path = save_checkpoint(tmp_path / "part.safetensors", tensors, META)
    with pytest.raises(CheckpointError, match=r"(?s)do not fit its architecture.*there is no model\.0\.theta"):
        load_spiking(path)


def test_an_architecture_outside_the_whitelist_is_refused(network: SpikingNetwork, tmp_path: Path) -> None:
    """What a checkpoint says about its architecture is checked like a YAML file's."""
    evil = {**META.architecture, "activation": "__import__('os').system('false')"}
    path = save_spiking(tmp_path / "evil.safetensors", network, replace(META, architecture=evil))
    with pytest.raises(ConfigError, match="cannot spike"):
        load_spiking(path)


def test_half_precision_comes_back_as_float32(network: SpikingNetwork, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "half.safetensors", network.tensors(), META, half=True)
    tensors, _ = load_checkpoint(path)
    loaded, _ = load_spiking(path)
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    # Dyadic weights are exact in float16 too.
    assert all(torch.equal(loaded.tensors()[name], value) for name, value in network.tensors().items())

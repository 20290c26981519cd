"""Whole networks with linear layers: the same spikes on bits and dense trains, to disk and back."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_detectors import BOTTLENECK, LINEAR, SMALL_CSP, STEM, Row, architecture, dyadic, dyadic_detector, logits

sys.path.append(str(Path(__file__).parent.parent / "snn"))

from native_runs import assert_same_trains

from spikedet.checkpoint import CheckpointMeta, save_checkpoint
from spikedet.commands.convert import convert
from spikedet.common.errors import CheckpointError
from spikedet.config import ConvertConfig, Linear, MaxPoolRule, Neuron
from spikedet.conversion import load_spiking, save_spiking, to_spiking
from spikedet.kernels.library import available
from spikedet.models import ClipDetector
from spikedet.snn import SpikingNetwork, make_backend, qc_forward, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.backends.native import backend as native
from spikedet.snn.backends.native.backend import NativeBackend
from spikedet.snn.operations import LinearConv

NETWORKS: dict[str, tuple[tuple[Row, ...], tuple[int, ...], str]] = {
    "additive neck": (SMALL_CSP, (16, 17, 18), "DirectDetect"),
    "linear bottlenecks": ((STEM, *BOTTLENECK, *BOTTLENECK), (-1,), "Detect"),
    "raw convolutions": ((STEM, [-1, 1, "DWConv", [8, 3, 1, 1, False]], LINEAR), (-1,), "Detect"),
}
META = CheckpointMeta(
    stage="copied",
    model="small",
    architecture=architecture(*SMALL_CSP, sources=(16, 17, 18), head="DirectDetect"),
    class_names=("cell", "dot"),
    image_size=64,
    T=4,
    neuron="signed",
)


def made(name: str) -> ClipDetector:
    torch.manual_seed(0)
    rows, sources, head = NETWORKS[name]
    return dyadic_detector(*rows, sources=sources, head=head)


def sample_images() -> torch.Tensor:
    return dyadic(2, 3, 64, 48, low=0)


# --- the same spikes ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")
@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("signed", 0), ("signed", 2)])
@pytest.mark.parametrize("linear", ["spiking", "analog"])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_bits_and_dense_trains_have_the_same_spikes(name: str, linear: Linear, neuron: Neuron, delay: int) -> None:
    network = to_spiking(made(name), 6, neuron=neuron, delay=delay, linear=linear)
    backend = make_backend(network)
    assert isinstance(backend, NativeBackend), backend.why
    assert_same_trains(backend, TorchBackend(network), sample_images(), 6)


@pytest.mark.skipif(not available(), reason="the kernels cannot be compiled here")
@pytest.mark.parametrize("rule", ["count", "or"])
@torch.no_grad()
def test_an_additive_neck_is_summed_where_its_bits_are_too_many(
    rule: MaxPoolRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits alone would be 57 trains of two planes at the last sum; either way has the spikes of the other."""
    network = to_spiking(made("additive neck"), 6, max_pool=rule)
    backend = NativeBackend(network)
    summed = [name for name, channels in backend.channels.items() if channels.summed]
    assert summed == ["model.11", "model.12", "model.13", "model.14", "model.15"]
    monkeypatch.setattr(native, "WIDEST", {"exact": 1000})
    bits = NativeBackend(network)
    assert len(bits.channels["model.15"].index) == 57 * 2 * 16
    assert_same_trains(backend, bits, sample_images(), 6)


@torch.no_grad()
def test_an_analog_network_says_what_its_means_say() -> None:
    """With a firing delay of T every layer has all of its input before it fires: rates are g, through currents too."""
    network, images = to_spiking(made("additive neck"), 4, delay=4, linear="analog"), sample_images()
    (reading,) = simulate(network, images, [4])
    boxes, classes = logits(network, reading.maps)
    expected = logits(network, qc_forward(network, images, 4))
    assert torch.equal(boxes, expected[0])
    assert torch.equal(classes, expected[1])


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linear", ["spiking", "analog"])
def test_round_trip(linear: Linear, tmp_path: Path) -> None:
    network = to_spiking(made("additive neck"), 4, neuron="signed", linear=linear)
    path = save_spiking(tmp_path / "copied.safetensors", network, replace(META, linear=linear))
    loaded, meta = load_spiking(path)
    assert (meta.linear, meta.neuron, loaded.neuron) == (linear, "signed", "signed")
    assert [type(node.module) for node in loaded.nodes] == [type(node.module) for node in network.nodes]
    assert [(x.neuron, x.slope) for _, x in loaded.spiking()] == [(x.neuron, x.slope) for _, x in network.spiking()]
    assert loaded.tensors().keys() == network.tensors().keys()
    images = sample_images()
    got, expected = (next(simulate(one, images, [4])) for one in (loaded, network))
    assert torch.equal(got.spikes, expected.spikes)
    assert all(torch.equal(got.maps[name], expected.maps[name]) for name in expected.maps)


def test_a_checkpoint_from_before_linear_layers_loads(tmp_path: Path) -> None:
    """Its metadata have no such key."""
    rows = (STEM, [-1, 1, "Bottleneck", [8]])
    meta = replace(META, architecture=architecture(*rows))
    path = save_spiking(tmp_path / "new.safetensors", to_spiking(dyadic_detector(*rows), 4, neuron="signed"), meta)
    with safe_open(path, framework="pt") as file:
        (key, text), *_ = file.metadata().items()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    values = json.loads(text)
    assert values.pop("linear") == "spiking"
    save_file(tensors, tmp_path / "old.safetensors", metadata={key: json.dumps(values)})
    network, meta = load_spiking(tmp_path / "old.safetensors")
    assert isinstance(network, SpikingNetwork)
    assert meta.linear == "spiking"


def test_an_unknown_form_of_linear_layers_is_refused(tmp_path: Path) -> None:
    network, meta = to_spiking(made("additive neck"), 4), replace(META, linear="digital")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="not saved: linear: invalid enum value 'digital'"):
        save_spiking(tmp_path / "odd.safetensors", network, meta)


@pytest.mark.parametrize("linear", ["spiking", "analog"])
def test_convert_writes_what_linear_layers_became(linear: Linear, tmp_path: Path) -> None:
    source = tmp_path / "ann.safetensors"
    save_checkpoint(source, made("additive neck").state_dict(), replace(META, stage="ann", T=None, neuron=None))
    (path,) = convert(ConvertConfig(checkpoint=str(source), T=4, neuron="signed", linear=linear, theta_images=0))
    network, meta = load_spiking(path)
    assert (meta.linear, meta.neuron) == (linear, "signed")
    analog = [node.name for node in network.nodes if isinstance(node.module, LinearConv)]
    assert analog == (["model.5", "model.6", "model.7"] if linear == "analog" else [])

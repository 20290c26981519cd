"""Graphs in checkpoints: every layer there and back, and every impossible one refused by its name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_detectors import STEM, architecture, dyadic_detector
from torch import nn

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.common.errors import CheckpointError
from spikedet.conversion import load_spiking, save_spiking, to_spiking
from spikedet.conversion.stored_graph import graph_of
from spikedet.models import build_detector, load_model_yaml
from spikedet.snn import SpikingNetwork, make_backend, simulate

LAYERS = (
    STEM,
    [-1, 1, "C2f", [8, True]],
    [-1, 1, "nn.ZeroPad2d", [[0, 1, 0, 1]]],
    [-1, 1, "nn.MaxPool2d", [2, 1]],
    [-1, 1, "nn.AvgPool2d", [2, 2]],
    [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
    [[-1, 0], 1, "Add", []],
)
META = CheckpointMeta(
    stage="copied",
    model="small",
    architecture=architecture(*LAYERS),
    class_names=("cell", "dot"),
    image_size=32,
    T=4,
    neuron="if",
)
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def converted() -> SpikingNetwork:
    torch.manual_seed(0)
    return to_spiking(dyadic_detector(*LAYERS), 4)


@pytest.fixture
def network(converted: SpikingNetwork) -> SpikingNetwork:
    """A copy, for tests that change it."""
    return copy.deepcopy(converted)


def forms(network: SpikingNetwork) -> list[Any]:
    """Everything of a network that is no tensor."""
    hidden = ("_parameters", "_buffers", "_modules", "pool")
    nodes = []
    for node in network.nodes:
        settings = {key: value for key, value in vars(node.module).items() if key not in hidden}
        pool = getattr(node.module, "pool", None)
        nodes.append((node.name, tuple(node.inputs), type(node.module), settings, repr(pool)))
    return [nodes, network.box_readouts, network.class_readouts, network.strides.tolist(), network.T]


def test_a_network_comes_back_without_its_model(
    network: SpikingNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_spiking(tmp_path / "a.safetensors", network, META)
    monkeypatch.setattr("spikedet.conversion.storage.build_skeleton", lambda *_: pytest.fail("builds a model"))
    loaded, _ = load_spiking(path)
    images = torch.rand(1, 3, 32, 32)
    for one, other in zip(simulate(loaded, images, [1, 4]), simulate(network, images, [1, 4]), strict=True):
        assert torch.equal(one.spikes, other.spikes)
        assert all(torch.equal(one.maps[name], other.maps[name]) for name in other.maps)


@pytest.mark.parametrize(
    ("model", "linear"),
    [
        ("tiny-yolo-csp-nano", "analog"),
        ("tiny-yolo-csp-nano", "spiking"),
        pytest.param("yolov9t.yaml", "spiking", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_layer_comes_back(model: str, linear: Any, tmp_path: Path) -> None:
    detector = build_detector(load_model_yaml(model, "leaky"), META.class_names)
    network = to_spiking(detector, 4, delay=1, max_pool="or", linear=linear)
    about: dict[str, Any] = {"architecture": load_model_yaml(model, "leaky"), "image_size": 64}
    meta = replace(META, **about, delay=1, max_pool="or", linear=linear)
    with_graph = save_spiking(tmp_path / "a.safetensors", network, meta)
    without = save_checkpoint(tmp_path / "b.safetensors", network.tensors(), meta)
    first, second = load_spiking(with_graph)[0], load_spiking(without)[0]
    assert graph_of(first) == graph_of(second) == graph_of(network)
    assert all(torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items())


def layer(graph: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(found for found in graph["layers"] if found["kind"] == kind)


CHANGES: dict[str, tuple[Change, str]] = {
    "no layers": (lambda g: g.update(layers=[]), "its outputs are none of its output layers"),
    "another kind": (
        lambda g: layer(g, "Add").update(kind="exec"),
        r"layers\[\d+\]\.kind: invalid value 'exec'",
    ),
    "no kind": (lambda g: layer(g, "Add").pop("kind"), "missing required field kind"),
    "a later input": (lambda g: g["layers"][0].update(inputs=[g["layers"][2]["name"]]), "which is no earlier layer"),
    "its own input": (lambda g: g["layers"][3].update(inputs=[g["layers"][3]["name"]]), "which is no earlier layer"),
    "a name twice": (lambda g: g["layers"].insert(1, g["layers"][0]), "is there twice"),
    "a strange name": (lambda g: g["layers"][0].update(name="../x"), "name: expected str matching regex"),
    "two inputs": (lambda g: layer(g, "AvgPool").update(inputs=["image", "image"]), "reads more than one layer"),
    "an output that is none": (lambda g: g.update(boxes=[g["layers"][0]["name"]]), "none of its output layers"),
    "one scale less": (lambda g: g.update(strides=[2.0, 4.0]), "not one output for boxes and one for classes"),
    "a stride of nothing": (lambda g: g.update(strides=[0.0]), r"strides\[0\]: expected float >= 1"),
    "stride and image": (
        lambda g: g.update(strides=[5.0]),
        "is no multiple of its stride of 5",
    ),
    "exchanged outputs": (lambda g: g.update(boxes=g["classes"], classes=g["boxes"]), "classes; it names 2"),
    "too large maps": (lambda g: layer(g, "Upsample").update(factor=64), "layers do not fit each other|enlarges"),
    "a negative delay": (lambda g: layer(g, "SpikingConv").update(delay=-1), "delay: expected int >= 0"),
    "another neuron": (lambda g: layer(g, "SpikingConv").update(neuron="lif"), "neuron: invalid enum value 'lif'"),
    "no slope": (lambda g: layer(g, "SpikingConv").update(neuron="asymmetric", slope=0), "expected a positive slope"),
    "groups": (
        lambda g: layer(g, "SpikingConv").update(groups=2),
        "a layer that takes 6 channels reads the 3 of image",
    ),
    "a large stride": (lambda g: layer(g, "SpikingConv").update(stride=[65536, 1]), "layers do not fit each other"),
    "a stride too large": (
        lambda g: layer(g, "SpikingConv").update(stride=[65537, 1]),
        "stride.*: expected int <= 65536",
    ),
    "channels": (lambda g: layer(g, "Slice").update(stop=99), "channels 0 to 99 are taken from the"),
    "padding": (lambda g: layer(g, "MaxPool").update(padding=[9, 9]), "layers do not fit each other"),
    "a rule": (lambda g: layer(g, "MaxPool").update(rule="first"), "rule: invalid enum value 'first'"),
    "a list": (lambda g: g.update(layers={}), "layers: expected array, got object"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_an_impossible_graph_is_refused(change: Change, message: str, network: SpikingNetwork, tmp_path: Path) -> None:
    path = save_spiking(tmp_path / "a.safetensors", network, META)
    tensors, meta = load_checkpoint(path)
    graph = copy.deepcopy(meta.graph)
    assert graph is not None
    change(graph)
    with pytest.raises(CheckpointError, match=rf"x\.safetensors: .*({message})"):
        load_spiking(save_checkpoint(tmp_path / "x.safetensors", tensors, replace(meta, graph=graph)))


def test_a_module_without_a_stored_form_is_an_error(network: SpikingNetwork) -> None:
    network.nodes[0] = replace(network.nodes[0], module=nn.Dropout())
    with pytest.raises(TypeError, match=r"model\.0: a Dropout has no stored form"):
        graph_of(network)


@torch.no_grad()
def test_sums_of_sums_are_computed_once(tmp_path: Path) -> None:
    """Each of 40 sums reads the one before twice: a trillion ways from the image to the first layer."""
    rows = [*([[-1, -1], 1, "Add", []] for _ in range(40)), STEM]
    meta = replace(META, architecture=architecture(*rows))
    network, _ = load_spiking(save_spiking(tmp_path / "a.safetensors", to_spiking(dyadic_detector(*rows), 4), meta))
    last = network.nodes[39].name
    assert network.is_constant(last)
    next(simulate(network, torch.zeros(1, 3, 32, 32), [1], backend=make_backend(network)))


@pytest.mark.parametrize("shape", [(8, 16), (8, 1, 1), (8, 15, 16), (4, 16, 16), (1,), (), (8, 16, 16, 1)], ids=str)
def test_potentials_of_another_shape_are_refused(
    shape: tuple[int, ...], network: SpikingNetwork, tmp_path: Path
) -> None:
    tensors = {**network.tensors(), "model.0.u0": torch.zeros(shape)}
    for graph in (None, graph_of(network)):
        path = save_checkpoint(tmp_path / "a.safetensors", tensors, replace(META, graph=graph))
        with pytest.raises(CheckpointError, match=r"a\.safetensors: .* model\.0\.u0 has the shape"):
            load_spiking(path)


def test_an_image_size_that_is_no_multiple_of_the_stride_is_refused(network: SpikingNetwork, tmp_path: Path) -> None:
    for graph in (None, graph_of(network)):
        meta = replace(META, graph=graph, image_size=33)
        with pytest.raises(CheckpointError, match=r"a\.safetensors: its image size of 33 px is no multiple"):
            load_spiking(save_checkpoint(tmp_path / "a.safetensors", network.tensors(), meta))


def test_thresholds_are_positive(network: SpikingNetwork, tmp_path: Path) -> None:
    tensors = {**network.tensors(), "model.0.theta": torch.zeros(8)}
    with pytest.raises(CheckpointError, match=r"a\.safetensors: model\.0\.theta holds 0; expected values from 1e-12"):
        save_checkpoint(tmp_path / "a.safetensors", tensors, META)


def test_decays_and_reset_of_clif_layers_are_kept_and_those_of_others_not_stored(
    network: SpikingNetwork, tmp_path: Path
) -> None:
    assert "decays" not in graph_of(network)["layers"][0]
    for (_, layer), decays in zip(network.spiking(), ((0.5, 0.75), (0.1, 0.9)), strict=False):
        layer.neuron, layer.decays, layer.reset = "clif", decays, "soft"
    found, _ = load_spiking(save_spiking(tmp_path / "clif.safetensors", network, replace(META, neuron="clif")))
    kept, made = ([(m.neuron, m.decays, m.reset) for _, m in one.spiking()] for one in (found, network))
    assert kept == made
    assert kept[1] == ("clif", (0.1, 0.9), "soft")


def test_clif_layers_have_no_delay(network: SpikingNetwork, tmp_path: Path) -> None:
    layer = next(network.spiking())[1]
    layer.neuron, layer.delay = "clif", 2
    path = save_spiking(tmp_path / "clif.safetensors", network, replace(META, neuron="clif"))
    with pytest.raises(CheckpointError, match="its graph is not valid: C-LIF neurons leak"):
        load_spiking(path)

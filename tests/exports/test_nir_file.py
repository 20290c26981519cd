"""NIR exports: refused by name, or equal after a round trip through ``nir.write`` and ``nir.read``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nir
import pytest
import torch
from torch import nn

from spikedet.checkpoint import CheckpointMeta
from spikedet.commands.export import export
from spikedet.common.errors import ExportError
from spikedet.config.export import ExportConfig
from spikedet.conversion import load_spiking, save_spiking, to_spiking
from spikedet.exports.nir_file import last_silent, refusals, run, to_nir, write
from spikedet.exports.subject import Subject
from spikedet.models import build_detector
from spikedet.models.postprocess import decode_maps
from spikedet.snn import IMAGE, Node, Readout, SpikingNetwork, simulate
from spikedet.snn.backends.dense import TorchBackend
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample

sys.path.append(str(Path(__file__).parent.parent / "snn"))
from snn_reference import branching_network, dyadic, spiking_conv

SHIPPED = Path(__file__).resolve().parents[2] / "weights/tiny-yolo-csp-nano-voc-t8.safetensors"


def subject_of(network: SpikingNetwork, size: int = 16) -> Subject:
    about: dict[str, Any] = {"stage": "copied", "model": "m", "architecture": {}, "class_names": ("a", "b")}
    meta = CheckpointMeta(**about, image_size=size, T=network.T, neuron="if")
    return Subject(network, meta, ExportConfig(checkpoint="x", out="y.nir", to="nir"))


def one_step_network(*, neuron: str = "if", delay: int = 0, T: int = 1) -> SpikingNetwork:
    """Every layer that NIR can hold: sums, slices, concatenations of both, average pooling, groups."""
    stem, left, right = (spiking_conv(cin, 4, neuron=neuron, delay=delay) for cin in (3, 2, 4))
    grouped = spiking_conv(2, 6, neuron=neuron)  # 12 channels in 6 groups of 2
    grouped.groups = 6
    linear = LinearConv(dyadic(4, 4, 3, 3), dyadic(4), stride=(1, 1), padding=(1, 1))
    stem.u0 = nn.Parameter(dyadic(4, low=-4, high=12))
    left.u0 = nn.Parameter(dyadic(4, 16, 16, low=-4, high=12))
    nodes = [
        Node("stem", (IMAGE,), stem),
        Node("half", ("stem",), Slice(2, 4)),
        Node("left", ("half",), left),
        Node("right", ("stem",), right),
        Node("sum", ("left", "right"), Add()),
        Node("linear", ("sum",), linear),
        Node("joined", ("sum", "linear", "left"), Concat()),
        Node("part", ("joined",), Slice(0, 12)),
        Node("pooled", ("part",), AvgPool(nn.AvgPool2d(2))),
        Node("grouped", ("pooled",), grouped),
        Node("box", ("grouped",), head(6, 16)),
        Node("class", ("grouped",), head(6, 2)),
    ]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([2.0]), T)


def leaky_network(T: int = 8, reset: str = "hard") -> SpikingNetwork:
    """The same with C-LIF neurons."""
    network = one_step_network(T=T)
    for _, layer in network.spiking():
        layer.neuron, layer.reset = "clif", reset  # type: ignore[assignment]
        layer.u0 = nn.Parameter(torch.zeros_like(layer.theta))
    return network


@pytest.mark.parametrize("seed", range(4))
def test_a_current_lif_network_comes_back_equal_at_every_step(seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    network, images = leaky_network(), dyadic(2, 3, 16, 16, low=0)
    subject = subject_of(network)
    steps = (1, 2, 4, 8)
    write(
        Subject(network, subject.meta, ExportConfig(checkpoint="x", out="y.nir", to="nir", t="1,2,4,8")), tmp_path / "x"
    )
    found = run(tmp_path / "x")(images)
    for reading in simulate(network, images, steps, T=8, backend=TorchBackend(network)):
        outputs = found[reading.t]
        assert outputs.decoded is not None
        assert outputs.spikes is not None
        assert torch.equal(outputs.spikes, reading.spikes)
        assert torch.equal(outputs.decoded, decode_maps(network, reading.maps))
    assert float(found[8].spikes.min()) > 8 * 16  # type: ignore[union-attr]
    read = nir.read(tmp_path / "x")
    neurons = next(node for node in read.nodes.values() if isinstance(node, nir.CubaLIF))
    assert (float(neurons.tau_syn.flat[0]), float(neurons.tau_mem.flat[0])) == (2.0, 4.0)


def test_current_lif_neurons_that_nir_does_not_have_are_refused() -> None:
    soft, started, lossless = leaky_network(reset="soft"), leaky_network(), leaky_network()
    next(started.spiking())[1].u0.data += 0.5
    for _, layer in lossless.spiking():
        layer.decays = (1.0, 0.75)
    assert "hard reset" in refusals(soft)[0]
    assert refusals(started) == [
        "stem: NIR's CubaLIF starts at 0 and is set to v_reset by a spike; it takes hard reset and u[0] = 0"
    ]
    assert "decays below 1" in refusals(lossless)[0]


def head(channels_in: int, channels: int) -> Readout:
    return Readout(dyadic(channels, channels_in, 1, 1), dyadic(channels), stride=(1, 1), padding=(0, 0))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("neuron", "delay"), [("if", 0), ("signed", 0), ("if", 2)])
def test_a_network_of_one_step_comes_back_equal(seed: int, neuron: str, delay: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    network, images = one_step_network(neuron=neuron, delay=delay), dyadic(3, 3, 16, 16, low=0)
    write(subject_of(network), tmp_path / "x.nir")
    found = run(tmp_path / "x.nir")(images)[1]
    (reading,) = simulate(network, images, [1], T=1, backend=TorchBackend(network))
    assert found.decoded is not None
    assert found.spikes is not None
    assert torch.equal(found.decoded, decode_maps(network, reading.maps))
    assert torch.equal(found.spikes, reading.spikes)
    assert 0 < float(reading.spikes.min()) < 16 * 16 * 12


def test_the_graph_is_written_with_types_and_without_other_edges(tmp_path: Path) -> None:
    subject = subject_of(one_step_network())
    write(subject, tmp_path / "x.nir")
    made, read = to_nir(subject), nir.read(tmp_path / "x.nir")
    assert {name: type(node).__name__ for name, node in made.nodes.items()} == {
        name: type(node).__name__ for name, node in read.nodes.items()
    }
    assert sorted(made.edges) == sorted(read.edges)
    assert [type(read.nodes[name]).__name__ for name in ("image", "boxes_0", "classes_0")] == [
        "Input",
        "Output",
        "Output",
    ]
    read.check_types()


def test_a_detector_without_upsampling_goes_through_the_command(tmp_path: Path) -> None:
    rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "C2f", [8, True]], [-1, 1, "Conv", [8, 3, 2]]]
    head = [[[1, 2], 1, "Detect", ["nc"]]]  # two scales, the second by a strided convolution
    architecture: dict[str, Any] = {"nc": 2, "activation": "torch.nn.ReLU()", "reg_max": 4, "backbone": rows}
    architecture["head"] = head
    torch.manual_seed(0)
    model = build_detector(architecture, ("a", "b")).eval()
    about: dict[str, Any] = {"stage": "copied", "model": "m", "architecture": architecture, "class_names": ("a", "b")}
    meta = CheckpointMeta(**about, image_size=32, T=1, neuron="if")
    save_spiking(tmp_path / "one.safetensors", to_spiking(model, 1), meta)
    out = export(ExportConfig(checkpoint=str(tmp_path / "one.safetensors"), to="nir", out=str(tmp_path / "one.nir")))
    kinds = {type(node).__name__ for node in nir.read(out).nodes.values()}
    assert kinds == {"Input", "Conv2d", "IF", "Scale", "Output"}


def test_thresholds_are_the_last_floats_that_do_not_fire() -> None:
    torch.manual_seed(0)
    theta, u0 = torch.rand(5000) * 3 + 1e-3, torch.randn(5000) * 2
    u0[:3], theta[:3] = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([1.0, 1.0, 1e-30])
    last = last_silent(u0, theta)
    above = torch.nextafter(last, torch.tensor(torch.inf))
    assert bool((u0 + last < theta).all())
    assert bool((u0 + above >= theta).all())


def test_random_floats_fire_alike(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = one_step_network()
    for _, layer in network.spiking():
        layer.weight.data, layer.u0.data = torch.randn_like(layer.weight), torch.randn_like(layer.u0)
        layer.theta = torch.rand_like(layer.theta) + 0.1
    images = torch.rand(2, 3, 16, 16)
    write(subject_of(network), tmp_path / "x.nir")
    (reading,) = simulate(network, images, [1], T=1, backend=TorchBackend(network))
    spikes = run(tmp_path / "x.nir")(images)[1].spikes
    assert spikes is not None
    assert (spikes - reading.spikes).abs().max() <= 2  # sums over parts of a concatenation are rounded otherwise


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Upsample(2), "^bad: NIR has no node for Upsample"),
        (MaxPool(nn.MaxPool2d(2)), "^bad: NIR has no node for MaxPool"),
        (AvgPool(nn.AvgPool2d(3, 1, 1)), "^bad: NIR's AvgPool2d knows no padding rule"),
        (spiking_conv(4, 4, neuron="asymmetric", slope=1.0), "^bad: NIR has no asymmetric neuron"),
    ],
)
def test_what_nir_cannot_hold_is_refused_by_name(module: nn.Module, message: str, tmp_path: Path) -> None:
    network = one_step_network()
    network.nodes.insert(1, Node("bad", ("stem",), module))
    with pytest.raises(ExportError, match=message):
        write(subject_of(network), tmp_path / "x.nir")
    assert not list(tmp_path.iterdir())


def test_a_soft_reset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^stem \(and 3 more\): .*subtracts the threshold; it takes .* --T 1"):
        write(subject_of(one_step_network(T=2)), tmp_path / "x.nir")


def test_every_reason_is_told_once() -> None:
    reasons = refusals(branching_network(neuron="signed"))
    assert [reason.partition(":")[0] for reason in reasons] == ["stem (and 3 more)", "up"]


def test_the_shipped_network_is_refused() -> None:
    network, _ = load_spiking(SHIPPED)
    text = "; ".join(refusals(network))
    assert "subtracts the threshold" in text
    assert "Upsample" in text

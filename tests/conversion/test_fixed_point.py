"""Networks in which no sum is rounded: float32 and float64 send the same spikes, whatever adds them up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from snn_reference import branching_network, random_network, readout, reference, spiking_conv
from tiny_detector import chain
from torch import Tensor, nn

from spikedet.commands.export import export
from spikedet.common.errors import ConfigError, ExportError
from spikedet.config import ExportConfig
from spikedet.conversion.fixed_point import to_fixed_point
from spikedet.conversion.storage import load_spiking
from spikedet.kernels.library import available
from spikedet.snn import IMAGE, Node, SpikingNetwork, make_backend, simulate
from spikedet.snn.closed_form import ClosedForm, has_closed_form
from spikedet.snn.operations import Add, AvgPool, LinearConv

PIXELS = torch.arange(256).float() / 255


def real(network: SpikingNetwork, seed: int) -> SpikingNetwork:
    """With weights, thresholds and potentials that are no round numbers."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data *= 0.7 + 0.6 * torch.rand(parameter.shape, generator=generator)
    for _, layer in network.spiking():
        layer.theta *= 0.7 + 0.6 * torch.rand(layer.theta.shape, generator=generator)
    return network


def drawn(seed: int, delays: bool) -> tuple[SpikingNetwork, Tensor]:
    network, images = random_network(seed, delays=delays, signed=True, more=("max", "slice", "pad"))
    return real(network, seed), PIXELS[torch.randint(0, 256, images.shape)]


@pytest.mark.parametrize("delays", [False, True])
def test_no_sum_is_rounded(delays: bool) -> None:
    tried, changed, spikes = 0, 0.0, 0.0
    for seed in range(24):
        network, images = drawn(seed, delays)
        try:
            fixed, errors = to_fixed_point(network)
        except ExportError as error:
            assert "Add" in str(error)  # the image and spikes have no common scale
            continue
        tried += 1
        assert max(errors.values(), default=0.0) < 0.1
        single = reference(fixed, images, 8)
        assert all(bool((train.abs() < 2**24).all()) for train in single.trains.values())
        double = reference(fixed.double(), images.double(), 8)
        for name, sent in single.spikes.items():
            assert torch.equal(sent, double.spikes[name]), (seed, name)
        spikes += float(single.count(8).sum())
        changed += float((single.count(8) - reference(network, images, 8).count(8)).abs().sum())
    assert tried > 16
    assert changed < 0.01 * spikes


@pytest.mark.skipif(not available(), reason="no compiler")
def test_backends_agree() -> None:
    for seed in range(4):
        torch.manual_seed(seed)
        fixed, _ = to_fixed_point(real(branching_network(neuron=("if", "signed")[seed % 2]), seed))
        images = PIXELS[torch.randint(0, 256, (2, 3, 32, 16))]
        found = [
            list(simulate(fixed, images, range(1, 9), backend=make_backend(fixed, name)))  # type: ignore[arg-type]
            for name in ("torch", "native")
        ]
        for one, other in zip(*found, strict=True):
            assert torch.equal(one.spikes, other.spikes), seed


def test_thetas_of_channels_that_are_added_stay_in_proportion_and_the_closed_form_is_exact() -> None:
    torch.manual_seed(1)
    network = real(branching_network((8, 8, 8, 8)), 1)
    thetas = {node.name: layer.theta.clone() for node, layer in network.spiking()}
    fixed, _ = to_fixed_point(network)
    made = {node.name: layer.theta for node, layer in fixed.spiking()}
    assert bool((made["stem"] == 1).all())
    largest = torch.maximum(thetas["skip"], thetas["deep"])
    for name in ("skip", "deep"):
        assert float((made[name] - thetas[name] / largest).abs().max()) <= 1 / 16
    assert has_closed_form(fixed)
    images = PIXELS[torch.randint(0, 256, (2, 3, 8, 6))]
    for one, other in zip(ClosedForm(fixed)(images, range(1, 9)), simulate(fixed, images, range(1, 9)), strict=True):
        assert torch.equal(one.spikes, other.spikes)


def test_pixels_are_whole_numbers_and_once_is_enough() -> None:
    network = real(branching_network(), 2)
    fixed, _ = to_fixed_point(network)
    pixels = fixed.nodes[0].module([PIXELS.view(1, 1, 1, 1, 256).expand(1, 1, 3, 1, 256)])
    assert torch.equal(pixels[0, 0, 0, 0], torch.arange(256).float())
    assert to_fixed_point(fixed) == (fixed, {})


def of_one_layer(module: nn.Module, T: int = 8, **settings: object) -> SpikingNetwork:
    torch.manual_seed(0)
    nodes = [Node("first", (IMAGE,), spiking_conv(3, 3, **settings)), Node("second", ("first",), module)]
    nodes += [Node("box", ("second",), readout(3)), Node("class", ("second",), readout(3))]
    return SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), T)


ANALOG = LinearConv(torch.ones(3, 3, 1, 1), torch.zeros(3), stride=(1, 1), padding=(0, 0))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (of_one_layer(nn.Identity(), neuron="clif"), "first: .*C-LIF neurons leak"),
        (of_one_layer(nn.Identity(), neuron="asymmetric", slope=0.1), "first: .*a slope of 0.1"),
        (of_one_layer(AvgPool(nn.AvgPool2d(3))), "second: the values of this AvgPool have no common step"),
        (
            of_one_layer(ANALOG),
            "second: the values of this LinearConv have no common step; convert with --linear spiking",
        ),
        (of_one_layer(nn.Identity(), T=2**20), "first: in T = 1048576 steps .* use a smaller T"),
    ],
)
def test_what_has_no_common_step_is_refused_by_name(network: SpikingNetwork, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        to_fixed_point(network)


def test_a_sum_with_a_layer_without_neurons_is_refused_by_the_name_of_the_layer() -> None:
    nodes = [Node("first", (IMAGE,), spiking_conv(3, 3)), Node("second", ("first",), ANALOG)]
    nodes += [Node("sum", ("first", "second"), Add()), Node("box", ("sum",), readout(3))]
    with pytest.raises(ExportError, match="second: the values of this LinearConv"):
        to_fixed_point(SpikingNetwork(nodes, ["box"], ["box"], torch.tensor([1.0]), 8))


def test_groups_of_steps_and_the_image_added_to_spikes_are_refused() -> None:
    network = branching_network((4, 4, 4, 4))
    outputs = (network.box_readouts, network.class_readouts)
    with pytest.raises(ExportError, match="SFA"):
        to_fixed_point(SpikingNetwork(network.nodes, *outputs, network.strides, 8, group=4))
    nodes = [Node("first", (IMAGE,), spiking_conv(3, 3)), Node("sum", (IMAGE, "first"), Add())]
    nodes += [Node("box", ("sum",), readout(3)), Node("class", ("sum",), readout(3))]
    with pytest.raises(ExportError, match="sum: the values of this Add"):
        to_fixed_point(SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([1.0]), 8))


def test_a_detector_and_its_exports_send_the_same_spikes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fixed = tmp_path / "fixed.safetensors"
    out = export(ExportConfig(checkpoint=str(chain()["fine"]), to="fixed-point", out=str(fixed)))
    network, meta = load_spiking(out)
    assert network.fixed_point and meta.stage == "fine" and meta.parent is not None
    pytest.importorskip("onnxruntime")
    caplog.clear(), caplog.set_level("INFO", "spikedet")
    export(ExportConfig(checkpoint=str(out), to="onnx", out=str(tmp_path / "fixed.onnx")))
    assert "spikes of an image 0, on 4 images" in caplog.text
    with pytest.raises(ConfigError, match="--t has no effect with --to fixed-point"):
        export(ExportConfig(checkpoint=str(out), to="fixed-point", t="2", out=str(tmp_path / "two.safetensors")))

"""ANN and QC-ANN in onnxruntime: on dyadic numbers the outputs of torch, bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from exported_graphs import run_onnx, subject
from snn_reference import dyadic, random_network, readout, spiking_conv
from torch import Tensor, nn

pytest.importorskip("onnxruntime")

from spikedet.common.errors import ExportError
from spikedet.exports.onnx_graph import OnnxGraph
from spikedet.exports.onnx_int8 import EightBits
from spikedet.exports.onnx_model import onnx_model
from spikedet.exports.rounding import rounded_weight
from spikedet.snn import IMAGE, Node, Readout, SpikingConv, SpikingNetwork, qc_forward
from spikedet.snn.operations import Add, AvgPool, Concat, LinearConv, MaxPool, Slice, Upsample, ZeroPad

MORE = ("max", "slice", "pad")


def found(network: SpikingNetwork, images: Tensor, **how: Any) -> dict[str, Tensor]:
    return run_onnx(onnx_model(subject(network, images, **how)), images)


@pytest.mark.parametrize(("stage", "T"), [("ann", None), ("qc", 4), ("qc", 1)])
def test_the_outputs_of_torch(stage: str, T: int | None) -> None:
    """Clips, leaky ones and linear ones among them, and their levels."""
    for seed in range(25):
        network, images = random_network(seed, delays=False, signed=True, more=(*MORE, "analog"))
        expected = qc_forward(network, images, T)
        made = found(network, images, stage=stage, T=T)
        for name, node in (("boxes_0", network.box_readouts[0]), ("classes_0", network.class_readouts[0])):
            torch.testing.assert_close(made[name], expected[node], rtol=1e-6, atol=1e-6, msg=f"{seed} {name}")


T = 4


@torch.no_grad()
def whole_steps_(network: SpikingNetwork, seed: int) -> SpikingNetwork:
    """Weights and biases that 8 bits hold exactly in units of levels, whatever the thetas of the channels are."""
    torch.manual_seed(seed)
    units, scales = {IMAGE: torch.ones(3)}, {IMAGE: 1 / 255}
    for node in network.nodes:
        module, source = node.module, node.inputs[0]
        scales[node.name], units[node.name] = scales[source], units[source]
        if isinstance(module, (SpikingConv, Readout)):
            steps = torch.randint(-9, 10, module.weight.shape).float()
            steps.flatten(1)[:, 0] = 127 * torch.randint(0, 2, (len(steps),)).mul(2).sub(1)
            step, gain = 0.5 / 127 * (1 + torch.rand(len(steps))), torch.ones(len(steps))
            if isinstance(module, SpikingConv):
                module.theta.copy_(0.5 + torch.rand(len(steps)))
                gain, scales[node.name], units[node.name] = T / module.theta, 1.0, module.theta / T
            if source == IMAGE:
                step *= T  # pixels are 1 at most
            module.weight.copy_(steps * (step / gain).view(-1, 1, 1, 1) / units[source].view(1, -1, 1, 1))
            bias = torch.randint(-20, 120, (len(steps),))
            module.bias.copy_(bias * step * scales[source] / gain)
        elif isinstance(module, Concat):
            scales[node.name] = 1.0
            units[node.name] = torch.cat([units[name] * scales[name] for name in node.inputs])
        elif isinstance(module, Slice):
            units[node.name] = units[source][module.start : module.stop]
    return network


def test_eight_bits_have_the_levels_of_the_network() -> None:
    """Where weights lose nothing no level differs, whatever is joined, pooled, padded, cut and linear."""
    compared, kinds = 0, set()
    for seed in range(60):
        network, images = random_network(seed, delays=False, signed=True, more=MORE)
        modules = [node.module for node in network.nodes]
        if any(isinstance(module, (AvgPool, Add)) or getattr(module, "slope", 0) == 0.5 for module in modules):
            continue  # what is rounded comes below
        if any(isinstance(node.module, Concat) and IMAGE in node.inputs for node in network.nodes):
            continue  # pixels lose a bit beside values with a sign
        whole_steps_(network, seed)
        images = (images * 255).round() / 255
        expected, made = qc_forward(network, images, T), found(network, images, stage="qc", T=T, to="onnx-int8")
        for name, node in (("boxes_0", network.box_readouts[0]), ("classes_0", network.class_readouts[0])):
            torch.testing.assert_close(made[name], expected[node], rtol=1e-4, atol=1e-4, msg=f"{seed} {name}")
        compared += 1
        kinds |= {type(module) for module in modules}
    assert compared > 10 and {Concat, MaxPool, Slice, Upsample, ZeroPad} <= kinds, (compared, kinds)


@pytest.mark.parametrize("operation", ["add", "average", "concat of means"])
def test_what_is_rounded_is_off_by_half_a_step(operation: str) -> None:
    """Sums and means of inputs with other thetas, and of one sign and two."""
    images = dyadic(2, 3, 8, 8, low=0).mul(255).round() / 255
    stem = [
        Node("a", (IMAGE,), spiking_conv(3, 4)),
        Node("b", (IMAGE,), spiking_conv(3, 4, neuron="asymmetric", slope=1.0)),
    ]
    made: dict[str, list[Node]] = {
        "add": [Node("out", ("a", "b"), Add())],
        "average": [Node("out", ("b",), AvgPool(nn.AvgPool2d(2)))],
        "concat of means": [Node("mean", ("a",), AvgPool(nn.AvgPool2d(3, 1, 1))), Node("out", ("mean", "b"), Concat())],
    }
    channels = 8 if operation == "concat of means" else 4
    ends = [Node("box", ("out",), readout(channels)), Node("class", ("b",), readout(4))]
    network = SpikingNetwork([*stem, *made[operation], *ends], ["box"], ["class"], torch.tensor([1.0]), T)
    whole_steps_(SpikingNetwork([*stem, ends[1]], ["class"], ["class"], torch.tensor([1.0]), T), 1)
    expected = qc_forward(network, images, T)
    values = found(network, images, stage="qc", T=T, to="onnx-int8")
    torch.testing.assert_close(values["classes_0"], expected["class"], rtol=1e-4, atol=1e-4)
    weights = network.nodes[-2].module.weight.detach().abs().sum((1, 2, 3)).max()
    step = 1.5 * (2 if operation == "add" else 1) / 127  # thetas are 1.5 at most
    step = step * weights + channels * 1.5 * 1.5 / 127  # of the values, and of the read-out's weights, 1 at most
    change = (values["boxes_0"] - expected["box"]).abs().max()
    assert 0 < float(change) < float(step), (float(change), float(step))


def test_what_has_no_range_is_refused_by_name() -> None:
    for seed in range(50):
        network, _ = random_network(seed, delays=False, signed=False, more=("analog",) * 5)
        analog = next((node for node in network.nodes if isinstance(node.module, LinearConv)), None)
        if analog is not None:
            with pytest.raises(ExportError, match=f"{analog.name}: LinearConv has no range of its own"):
                EightBits(OnnxGraph(), network, 4).write()
            return
    raise AssertionError("no network with an analog layer")


def test_rounded_weights_have_balanced_errors() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 5, 3, 3).double()
    weight[2] = 0
    least = torch.full((6,), 1e-9)
    integers, scale = rounded_weight(weight, least)
    errors = integers - weight / scale.view(-1, 1, 1, 1)
    assert float(integers.abs().max()) <= 127 and torch.equal(integers, integers.round())
    assert float(errors.abs().max()) < 1.5, "each is one of the two nearest, but for a second move"
    assert float(errors.sum((1, 2, 3)).abs().max()) <= 0.5 + 1e-9
    plain = (weight / scale.view(-1, 1, 1, 1)).round() - weight / scale.view(-1, 1, 1, 1)
    assert float(plain.sum((1, 2, 3)).abs().max()) > 0.5, "which rounding alone does not give"
    assert not integers[2].any() and float(scale[2]) == pytest.approx(1e-9)


def test_what_has_no_levels_has_those_of_8_bits() -> None:
    """A linear layer between others: as in the network without its clip, within half a step of 127 levels."""
    torch.manual_seed(0)
    images = dyadic(2, 3, 8, 8, low=0).mul(255).round() / 255
    spiking = spiking_conv(4, 4, neuron="asymmetric", slope=1.0)
    current = LinearConv(spiking.weight.data, spiking.bias.data, stride=(1, 1), padding=spiking.padding)
    stem, end = spiking_conv(3, 4), readout(4)

    def network(linear: SpikingConv | LinearConv) -> SpikingNetwork:
        nodes = [Node("a", (IMAGE,), stem), Node("b", ("a",), linear), Node("out", ("b",), end)]
        return SpikingNetwork(nodes, ["out"], ["out"], torch.tensor([1.0]), T)

    whole_steps_(network(spiking), 1)
    current.load_state_dict({name: spiking.state_dict()[name] for name in ("weight", "bias")})
    expected = qc_forward(network(current), images, T)["out"]
    spiking.theta.copy_(torch.full_like(spiking.theta, 8.0))  # nothing is clipped
    how: Any = {"stage": "qc", "T": T, "to": "onnx-int8"}
    values, coarse = (found(network(spiking), images, **how, linear=x)["boxes_0"] for x in ("analog", "spiking"))
    rounded = end.weight.detach().abs().sum((1, 2, 3)).max() * (0.5 * 8 / 127 + 0.05)
    assert float((values - expected).abs().max()) < float(rounded) < float((coarse - expected).abs().max())

"""One parity test per rule: the converted network in rate mode equals the ultralytics model it came from.

Dyadic weights, BN and thresholds and T a power of two make both exact, so atol = 0. Clip activations (T = None) keep
more digits from layer to layer than float32 has: 1e-5. Biases are not zero, images neither square nor even.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_detectors import BOTTLENECK, LINEAR, SMALL_CSP, STEM, Row, architecture, dyadic, dyadic_detector, logits
from torch import nn
from ultralytics.nn.modules import SPPF, Concat, Conv, Detect

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.errors import ConversionError
from spikedet.config import Linear, Neuron
from spikedet.conversion import to_spiking
from spikedet.models import ClipDetector, as_qc, build_detector
from spikedet.models.methods import with_method
from spikedet.snn import SpikingConv, qc_forward
from spikedet.snn.operations import LinearConv

CASES: dict[str, tuple[list[Row], tuple[int, ...], tuple[int, int]]] = {
    "Conv": ([STEM], (-1,), (19, 13)),
    "Conv of 1 x 1": ([STEM, [-1, 1, "Conv", [16, 1, 1]]], (-1,), (19, 13)),
    "Conv in groups": ([STEM, [-1, 1, "Conv", [16, 3, 1, None, 4]]], (-1,), (19, 13)),
    "Conv, dilated": ([STEM, [-1, 1, "Conv", [16, 3, 1, None, 1, 2]]], (-1,), (19, 13)),
    "Sequential repeats": ([STEM, [-1, 3, "Conv", [8, 3, 1]]], (-1,), (19, 13)),
    "Bottleneck with its sum": ([STEM, [-1, 1, "Bottleneck", [8]]], (-1,), (19, 13)),
    "Bottleneck without": ([STEM, [-1, 1, "Bottleneck", [8, False]]], (-1,), (19, 13)),
    "Bottleneck, wider": ([STEM, [-1, 1, "Bottleneck", [16]]], (-1,), (19, 13)),
    "Bottleneck repeats": ([STEM, [-1, 2, "Bottleneck", [8]]], (-1,), (19, 13)),
    "Upsample": ([STEM, [-1, 1, "nn.Upsample", [None, 2, "nearest"]]], (-1,), (11, 7)),
    "Upsample, threefold": ([STEM, [-1, 1, "nn.Upsample", [None, 3, "nearest"]]], (-1,), (11, 7)),
    "AvgPool2d": ([STEM, [-1, 1, "nn.AvgPool2d", [2, 2]]], (-1,), (21, 13)),
    "AvgPool2d, padded": ([STEM, [-1, 1, "nn.AvgPool2d", [4, 2, 1]]], (-1,), (21, 13)),
    "AvgPool2d of the image": ([[-1, 1, "nn.AvgPool2d", [2, 2]], STEM], (-1,), (38, 26)),
    "Concat": ([STEM, [-1, 1, "Conv", [16, 3, 1]], [[-1, 0], 1, "Concat", [1]]], (-1,), (19, 13)),
    "Concat of a branch twice as coarse": (
        [STEM, [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[0, -1], 1, "Concat", [1]]],
        (-1,),
        (20, 12),
    ),
    "MaxPool2d": ([STEM, [-1, 1, "nn.MaxPool2d", [2, 2]]], (-1,), (21, 13)),
    "MaxPool2d, padded": ([STEM, [-1, 1, "nn.MaxPool2d", [3, 2, 1]]], (-1,), (21, 13)),
    "ZeroPad2d": ([STEM, [-1, 1, "nn.ZeroPad2d", [[0, 1, 0, 1]]], [-1, 1, "nn.MaxPool2d", [2, 1]]], (-1,), (21, 13)),
    "C2f": ([STEM, [-1, 2, "C2f", [16, True]]], (-1,), (19, 13)),
    "C2f without sums": ([STEM, [-1, 1, "C2f", [16]]], (-1,), (19, 13)),
    "C3": ([STEM, [-1, 2, "C3", [16]]], (-1,), (19, 13)),
    "C2": ([STEM, [-1, 2, "C2", [16]]], (-1,), (19, 13)),
    "C3k2": ([STEM, [-1, 2, "C3k2", [16]]], (-1,), (19, 13)),
    "C3k2 of C3k": ([STEM, [-1, 1, "C3k2", [16, True]]], (-1,), (19, 13)),
    "RepNCSPELAN4": ([STEM, [-1, 1, "RepNCSPELAN4", [16, 16, 8, 2]]], (-1,), (19, 13)),
    "ELAN1": ([STEM, [-1, 1, "ELAN1", [16, 16, 8]]], (-1,), (19, 13)),
    "AConv": ([STEM, [-1, 1, "AConv", [16]]], (-1,), (19, 13)),
    "ADown": ([STEM, [-1, 1, "ADown", [16]]], (-1,), (21, 13)),
    "SPP": ([STEM, [-1, 1, "SPP", [16, [3, 5]]]], (-1,), (19, 13)),
    "SPPELAN": ([STEM, [-1, 1, "SPPELAN", [16, 8, 3]]], (-1,), (19, 13)),
    "SPPF": ([STEM, [-1, 1, "SPPF", [16, 3]]], (-1,), (19, 13)),
    "DWConv": ([STEM, [-1, 1, "DWConv", [8, 3, 1]]], (-1,), (19, 13)),
    "linear Conv": ([STEM, LINEAR, [-1, 1, "Conv", [16, 3, 1]]], (-1,), (19, 13)),
    "linear Conv of 3 x 3, strided": ([STEM, [-1, 1, "Conv", [8, 3, 2, None, 1, 1, False]]], (-1,), (19, 13)),
    "linear DWConv": ([STEM, [-1, 1, "DWConv", [8, 3, 1, 1, False]]], (-1,), (19, 13)),
    "linear bottleneck of MobileNetV2": ([STEM, *BOTTLENECK], (-1,), (19, 13)),
    "SPPF of a linear Conv, as in YOLO11": ([STEM, [-1, 1, "SPPF", [16, 3, 3, False]]], (-1,), (19, 13)),
    "Add": ([STEM, [-1, 1, "Conv", [8, 3, 1]], [[-1, 0], 1, "Add", []]], (-1,), (19, 13)),
    "Add of three": (
        [STEM, [-1, 1, "Conv", [8, 3, 1]], [-1, 1, "Conv", [8, 3, 1]], [[-1, 0, 1], 1, "Add", []]],
        (-1,),
        (19, 13),
    ),
    "Add after Upsample": (
        [STEM, [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[0, -1], 1, "Add", []]],
        (-1,),
        (20, 12),
    ),
    "two scales": ([STEM, [-1, 1, "Conv", [8, 3, 2]]], (0, 1), (19, 13)),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_rate_mode_is_the_model(case: str) -> None:
    torch.manual_seed(0)
    rows, sources, (height, width) = CASES[case]
    model = dyadic_detector(*rows, sources=sources)
    images = dyadic(2, 3, height, width, low=0)
    for T in (1, 2, 8, None):
        twin = model if T is None else as_qc(model, T)
        _, expected = twin.eval()(images)
        network = to_spiking(twin, T or 4)
        values = qc_forward(network, images, T)
        boxes, classes = logits(network, values)
        tolerance = 0 if T else 1e-5
        torch.testing.assert_close(boxes, expected["boxes"], rtol=0, atol=tolerance)
        torch.testing.assert_close(classes, expected["scores"], rtol=0, atol=tolerance)
        if T == 8:
            assert all(values[node.name].any() for node, _ in network.spiking()), "a silent layer proves nothing"


def without_linear_clips(model: ClipDetector, T: int) -> ClipDetector:
    """The QC-ANN that Stage I trains: its convolutions without activation have neither clip nor levels."""
    meta = CheckpointMeta("qc", "small", {}, ("cell", "dot"), 32, T=T, linear="analog")
    return with_method(model, meta).eval()


@pytest.mark.parametrize("case", [case for case in CASES if "linear" in case])
@torch.no_grad()
def test_an_analog_current_is_the_linear_layer(case: str) -> None:
    """Without neurons there is no clip and no quantization: the model with neither at its linear layers."""
    torch.manual_seed(0)
    rows, sources, (height, width) = CASES[case]
    model = dyadic_detector(*rows, sources=sources)
    images = dyadic(2, 3, height, width, low=0)
    for T in (2, 8):
        twin = as_qc(model, T).eval()
        network = to_spiking(twin, T, linear="analog")
        analog = [node.module for node in network.nodes if isinstance(node.module, LinearConv)]
        assert analog and all(layer.bias.any() for layer in analog)
        assert not any(layer.linear for _, layer in network.spiking())
        _, expected = without_linear_clips(model, T)(images)
        boxes, classes = logits(network, qc_forward(network, images, T))
        assert torch.equal(boxes, expected["boxes"])
        assert torch.equal(classes, expected["scores"])
        assert not torch.equal(boxes, twin(images)[1]["boxes"]), "a clip that does nothing proves nothing"


@pytest.mark.parametrize("linear", ["spiking", "analog"])
@torch.no_grad()
def test_a_direct_head_is_read_out_at_its_one_convolution(linear: Linear) -> None:
    """The whole of a small tiny-yolo-csp; its branches have no layers of their own."""
    torch.manual_seed(0)
    model = dyadic_detector(*SMALL_CSP, sources=(16, 17, 18), head="DirectDetect")
    images = dyadic(1, 3, 64, 48, low=0)
    network = to_spiking(model, 4, linear=linear)
    assert network.box_readouts == ["model.19.cv2.0.0", "model.19.cv2.1.0", "model.19.cv2.2.0"]
    assert network.class_readouts == ["model.19.cv3.0.0", "model.19.cv3.1.0", "model.19.cv3.2.0"]
    twin = as_qc(model, 4).eval()
    _, expected = (twin if linear == "spiking" else without_linear_clips(model, 4))(images)
    boxes, classes = logits(network, qc_forward(network, images, 4))
    assert torch.equal(boxes, expected["boxes"])
    assert torch.equal(classes, expected["scores"])


@pytest.mark.parametrize("neuron", ["if", "signed"])
def test_linear_layers_have_neurons_of_their_own(neuron: Neuron) -> None:
    network = to_spiking(dyadic_detector(STEM, *BOTTLENECK), 4, neuron=neuron, delay=1)
    kinds = {node.name: (layer.neuron, layer.slope, layer.delay) for node, layer in network.spiking()}
    assert kinds.pop("model.3") == ("asymmetric", 1.0, 1)
    assert set(kinds.values()) == {(neuron, 0.0, 1)}
    assert network.neuron == neuron


@torch.no_grad()
def test_linear_layers_beside_leaky_ones() -> None:
    """All of them are asymmetric, each with the slope of its own activation; such a network loads as it was made."""
    rows = {**architecture(STEM, *BOTTLENECK), "activation": "torch.nn.LeakyReLU(0.125)"}
    model = build_detector(rows, ("cell", "dot"))
    network = to_spiking(model, 4)
    assert network.neuron == "asymmetric"
    assert {layer.slope for _, layer in network.spiking()} == {0.125, 1.0}
    assert to_spiking(model, 4, neuron="asymmetric").tensors().keys() == network.tensors().keys()
    with pytest.raises(ConversionError, match=r"model\.0 has a clipped LeakyReLU, which no signed neuron represents"):
        to_spiking(model, 4, neuron="signed")


def test_every_registered_rule_has_a_case() -> None:
    """nn.Identity adds no node; it has its own test. C3k stands in C3k2, what begins with Rep in RepNCSPELAN4."""
    from spikedet.conversion.rules import RULES

    tested = {"Conv", "DWConv", "Bottleneck", "C2f", "C3", "SPPF", "Concat", "Sequential", "Upsample", "AvgPool2d"}
    tested |= {
        "Add",
        "MaxPool2d",
        "ZeroPad2d",
        "Identity",
        "C2",
        "C3k2",
        "C3k",
        "SPP",
        "SPPELAN",
        "AConv",
        "ADown",
        "ELAN1",
    }
    tested |= {"RepNCSPELAN4", "RepCSP", "RepBottleneck", "RepConv"}
    assert {kind.__name__ for kind in RULES} == tested


def swap_(model: ClipDetector, index: int, module: nn.Module) -> None:
    """Put another module in place of a layer, as ultralytics would have made it."""
    module.f, module.i = model.model[index].f, model.model[index].i  # type: ignore[assignment]
    model.model[index] = module


@torch.no_grad()
def test_identity_is_its_input() -> None:
    torch.manual_seed(0)
    model = dyadic_detector(STEM, [-1, 1, "Conv", [8, 3, 1]])
    swap_(model, 1, nn.Identity())
    images = dyadic(1, 3, 19, 13, low=0)
    network = to_spiking(model, 4)
    assert [node.name for node in network.nodes][:2] == ["model.0", "model.2.cv2.0.0"]
    expected = as_qc(model, 4).eval()(images)[1]["boxes"]
    assert torch.equal(logits(network, qc_forward(network, images, 4))[0], expected)


@pytest.mark.parametrize("row", [[-1, 1, "Conv", [8, 3, 1]], [-1, 1, "RepNCSPELAN4", [8, 8, 8]]])
@torch.no_grad()
def test_a_fused_model_converts_to_the_same_network(row: Row) -> None:
    """Ultralytics' own fusion leaves convolutions with a bias, no BN and no branches; its rounding is float32's."""
    torch.manual_seed(0)
    model = dyadic_detector(STEM, row)
    expected = to_spiking(model, 4).tensors()
    fused = to_spiking(model.fuse(verbose=False), 4).tensors()
    assert fused.keys() == expected.keys()
    assert all(torch.equal(fused[name], value) for name, value in expected.items())


def test_layers_carry_their_names_neuron_and_delay() -> None:
    network = to_spiking(dyadic_detector(STEM, [-1, 2, "Bottleneck", [8]]), 4, neuron="signed", delay=2)
    assert [node.name for node in network.nodes if not node.name.startswith("model.2")] == [
        "model.0",
        "model.1.0.cv1",
        "model.1.0.cv2",
        "model.1.0.add",
        "model.1.1.cv1",
        "model.1.1.cv2",
        "model.1.1.add",
    ]
    assert {(layer.neuron, layer.delay) for _, layer in network.spiking()} == {("signed", 2)}
    assert network.box_readouts == ["model.2.cv2.0.2"]
    assert network.class_readouts == ["model.2.cv3.0.2"]


# --- what cannot spike is refused by its qualified name ---------------------------------------------------------------


class Unknown(nn.Module):
    pass


def refused(change: Callable[[ClipDetector], object], row: Row | None = None) -> str:
    """The message for a detector of a stem, one more layer (``row``) and a head, after this change."""
    model = dyadic_detector(STEM, row or [-1, 1, "Conv", [8, 3, 1]])
    change(model)
    with pytest.raises(ConversionError) as error:
        to_spiking(model, 4)
    return str(error.value)


def reflect_(model: ClipDetector) -> None:
    model.model[1].conv.padding_mode = "reflect"


def same_(model: ClipDetector) -> None:
    model.model[1].conv.padding = "same"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (SPPF(8, 8), "model.1.cv1 has the activation Identity, which has no neuron"),
        (nn.SiLU(), "model.1 (SiLU) cannot spike: train with clip activations"),
        (Unknown(), "model.1 (Unknown) cannot spike: use Conv, Bottleneck, C2f, C3"),
        (nn.Conv2d(8, 8, 1), "model.1 (Conv2d) cannot spike"),
        (nn.Sequential(nn.Identity(), nn.Softmax(1)), "model.1.1 (Softmax) cannot spike"),
        (
            nn.Upsample(scale_factor=2, mode="bilinear"),
            "model.1: upsampling must be nearest by a whole factor, got bilinear",
        ),
        (nn.Upsample(scale_factor=1.5), "model.1: upsampling must be nearest by a whole factor, got nearest by 1.5"),
        (nn.Upsample(size=(8, 8)), "model.1: upsampling must be nearest by a whole factor, got nearest by None"),
        (Concat(2), "model.1: concatenation must be over channels (dimension 1), got 2"),
        (Conv(8, 8, 1, act=nn.SiLU()), "model.1 has the activation SiLU, which has no neuron"),
        (Conv(8, 8, 1, act=False), "model.1 has the activation Identity, which has no neuron"),
        (Conv(8, 8, 1, act=nn.LeakyReLU()), "model.1 has the activation LeakyReLU, which has no neuron"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_module_that_cannot_spike(module: nn.Module, message: str) -> None:
    assert refused(lambda model: swap_(model, 1, module)).startswith(message)


def test_inner_layers_are_named_by_their_path() -> None:
    def inner(model: ClipDetector) -> None:
        model.model[1].cv2.act = nn.SiLU()

    def in_head(model: ClipDetector) -> None:
        model.model[2].cv3[0][1].act = nn.SiLU()

    assert refused(inner, [-1, 1, "Bottleneck", [8]]).startswith("model.1.cv2 has the activation SiLU")
    assert refused(in_head).startswith("model.2.cv3.0.1 has the activation SiLU")


def test_attention_within_a_block_is_named() -> None:
    strided: Row = [-1, 3, "Conv", [8, 3, 2]]  # attention takes the square of the places
    model = dyadic_detector(STEM, strided, [-1, 1, "C3k2", [16, False, 0.5, True]])
    with pytest.raises(ConversionError) as error:
        to_spiking(model, 4)
    message = str(error.value)
    assert message.startswith("model.2.m.0.1 (PSABlock) cannot spike: attention has no spiking form here; use C3k2")


def test_only_zero_padding() -> None:
    assert refused(reflect_).startswith("model.1: padding reflect/(1, 1) is not supported")
    assert refused(same_).startswith("model.1: padding zeros/same is not supported")


class OtherHead(Detect):
    pass


def test_only_a_plain_detect_is_a_head() -> None:
    def other(model: ClipDetector) -> None:
        model.model[2].__class__ = OtherHead

    def end_to_end(model: ClipDetector) -> None:
        model.model[2].one2one_cv2 = model.model[2].cv2

    def without_last(model: ClipDetector) -> None:
        model.model[2].cv2[0] = model.model[2].cv2[0][:2]

    assert refused(other).startswith("model.2 (OtherHead) cannot be read out")
    assert refused(end_to_end).startswith("model.2 (Detect) cannot be read out")
    assert refused(without_last).startswith("model.2.cv2.0: a branch must end in a plain convolution, got Conv")


@pytest.mark.parametrize("how", [{"padding": 2, "dilation": 2}, {"padding": 1, "groups": 2}])
@torch.no_grad()
def test_an_unusual_last_convolution_is_refused_or_right(how: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = dyadic_detector(STEM)
    last = nn.Conv2d(16, 16, 3, **how)  # type: ignore[arg-type]
    last.weight.copy_(dyadic(*last.weight.shape))
    model.model[1].cv2[0][2] = last
    images = dyadic(1, 3, 19, 13, low=0)
    try:
        network = to_spiking(model, 4)
    except ConversionError:
        return
    expected = as_qc(model, 4).eval()(images)[1]["boxes"]
    assert torch.equal(logits(network, qc_forward(network, images, 4))[0], expected)


def test_layers_are_spiking_convolutions_only() -> None:
    network = to_spiking(dyadic_detector(STEM), 4)
    assert all(type(layer) is SpikingConv for _, layer in network.spiking())

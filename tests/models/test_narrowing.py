"""Structured pruning of a start: the same function where the dropped channels are zero, one choice where sums meet."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikedet.models import ClipDetector, build_detector, load_model_yaml, start_from_
from spikedet.models.imported import SILU, Imported
from spikedet.models.narrowing import _variance, narrowed

CLASSES = ("cell", "dot")
LINEAR = [16, 1, 1, None, 1, 1, False]
WIDE: dict[str, Any] = {
    "activation": "torch.nn.ReLU()",
    "reg_max": 4,
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],  # 0
        [-1, 1, "Conv", [16, 3, 1]],  # 1
        [[-1, 0], 1, "Concat", [1]],  # 2
        [-1, 1, "nn.MaxPool2d", [3, 1, 1]],  # 3
    ],
    "head": [
        [-1, 1, "Conv", LINEAR],  # 4
        [1, 1, "Conv", LINEAR],  # 5
        [[4, 5], 1, "Add", []],  # 6
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],  # 7
        [[7, 6], 1, "DirectDetect", ["nc"]],  # 8
    ],
}
NARROW = {**WIDE, "width_multiple": 0.5}
KEPT = {
    0: [1, 2, 4, 7, 8, 11, 13, 14],
    1: [0, 3, 5, 6, 9, 10, 12, 15],
    4: [0, 1, 2, 3, 12, 13, 14, 15],
    5: [0, 1, 2, 3, 12, 13, 14, 15],
}
"""Channels of each convolution that are not zero; the same ones on both sides of the sum."""


def detector(architecture: dict[str, Any], classes: tuple[str, ...] = CLASSES) -> ClipDetector:
    return build_detector(architecture, classes).eval()


@pytest.fixture
def wide() -> ClipDetector:
    """Weights and shifts of a quarter, deviations of 1; normalization gives 0 on channels that are not in ``KEPT``."""
    torch.manual_seed(0)
    model = detector(WIDE)
    for index, kept in KEPT.items():
        conv, norm = model.model[index].conv, model.model[index].bn
        conv.weight.data = torch.randint(-1, 2, conv.weight.shape) / 4
        norm.running_var.fill_(1 - norm.eps)
        norm.running_mean.copy_(torch.arange(16) / 16)
        norm.weight.data.zero_()[kept] = 1.0
        norm.bias.data.zero_()[kept] = torch.arange(8) / 4
        model.model[index].act.set_theta(torch.arange(1.0, 17.0))
    return model


def start_of(model: ClipDetector, architecture: dict[str, Any]) -> Imported:
    return Imported(architecture, CLASSES, 32, model.state_dict())


def maps(model: ClipDetector, x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        found = model(x)[1]
    return {name: found[name] for name in ("boxes", "scores")}


def test_channels_that_are_zero_are_dropped(wide: ClipDetector) -> None:
    """Through Concat, pooling, Add and Upsample, on an input that is not square."""
    start, model = start_of(wide, WIDE), detector(NARROW)
    before = copy.deepcopy(start.tensors)
    made = narrowed(start, model)
    assert {name: value.shape for name, value in made.tensors.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    model.load_state_dict(made.tensors)
    x = torch.randint(0, 5, (2, 3, 32, 64)) / 4
    expected, found = maps(wide, x), maps(model, x)
    for name in expected:  # the head's weights are no quarters, so the order of its sums shows
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
    assert expected["scores"].std() > 0.1
    assert all(torch.equal(value, before[name]) for name, value in start.tensors.items())


def test_kept_channels_stay_in_their_order(wide: ClipDetector) -> None:
    made = narrowed(start_of(wide, WIDE), detector(NARROW)).tensors
    for index, kept in KEPT.items():
        assert torch.equal(made[f"model.{index}.bn.running_mean"], torch.tensor(kept) / 16)
        torch.testing.assert_close(made[f"model.{index}.act.log_theta"].exp(), torch.tensor(kept) + 1.0)
    inputs = KEPT[1] + [16 + channel for channel in KEPT[0]]  # the Concat has layer 1 first
    expected = wide.state_dict()["model.4.conv.weight"][KEPT[4]][:, inputs]
    assert torch.equal(made["model.4.conv.weight"], expected)


def test_convolutions_that_an_add_sums_share_one_choice(wide: ClipDetector) -> None:
    """Importances by channels in fours: 1, 1, 0, 0 and 0, 2, 2, 0; their sum is largest from 4 to 11."""
    for index, scales in ((4, (1.0, 1.0, 0.0, 0.0)), (5, (0.0, 2.0, 2.0, 0.0))):
        layer = wide.model[index]
        layer.conv.weight.data.fill_(1.0)
        layer.bn.weight.data = torch.tensor(scales).repeat_interleave(4)
    for branch in (*wide.model[8].cv2, *wide.model[8].cv3):
        branch[0].weight.data.fill_(1.0)
    made = narrowed(start_of(wide, WIDE), detector(NARROW)).tensors
    for index in (4, 5):
        assert torch.equal(made[f"model.{index}.bn.running_mean"], torch.arange(4, 12) / 16)


@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_the_variance_of_an_activation_is_that_of_samples(slope: float) -> None:
    gamma, beta = torch.tensor([2.0, -0.5, 1.0, 0.0]), torch.tensor([0.0, 0.25, -1.0, 3.0])
    samples = torch.randn(1_000_000, 1, generator=torch.Generator().manual_seed(0)) * gamma + beta
    expected = torch.nn.functional.leaky_relu(samples, slope).var(0)
    torch.testing.assert_close(_variance(gamma, beta, slope), expected, rtol=0.01, atol=1e-6)  # a million samples


def test_a_threshold_per_layer_stays(wide: ClipDetector) -> None:
    theta = torch.zeros(1)
    start = start_of(wide, WIDE)
    start = replace(start, tensors={n: theta if n.endswith("log_theta") else v for n, v in start.tensors.items()})
    assert narrowed(start, detector(NARROW)).tensors["model.1.act.log_theta"] is theta


def changed(part: str, index: int, row: list[Any]) -> dict[str, Any]:
    made = copy.deepcopy(NARROW)
    made[part][index] = row
    return made


C2F = [-1, 1, "C2f", [16]]
SUM = [WIDE["head"][0], [1, 1, "Conv", [32, 1, 1]], [[2, 5], 1, "Add", []], *WIDE["head"][3:]]
SUM_OF_PARTS = {**WIDE, "head": SUM}
DETECT = [[7, 6], 1, "Detect", ["nc"]]
OTHERS = {
    "as wide": (WIDE, WIDE),
    "wider": (WIDE, {**WIDE, "width_multiple": 2}),
    "one wider": (WIDE, changed("backbone", 1, [-1, 1, "Conv", [64, 3, 1]])),
    "another kernel": (WIDE, changed("backbone", 1, [-1, 1, "Conv", [16, 1, 1]])),
    "another type": (WIDE, changed("backbone", 3, [-1, 1, "nn.AvgPool2d", [3, 1, 1]])),
    "another pooling": (WIDE, changed("backbone", 3, [-1, 1, "nn.MaxPool2d", [5, 1, 2]])),
    "another source": (WIDE, changed("head", 1, [0, 1, "Conv", LINEAR])),
    "fewer layers": (WIDE, {**NARROW, "head": [[-1, 1, "Conv", LINEAR], [[-1], 1, "DirectDetect", ["nc"]]]}),
    "blocks": tuple(changed("backbone", 1, C2F) | {"width_multiple": width} for width in (1, 0.5)),
    "a head with layers": tuple(changed("head", 4, DETECT) | {"width_multiple": width} for width in (1, 0.5)),
    "groups": tuple(
        changed("backbone", 1, [-1, 1, "Conv", [16, 3, 1, None, 2]]) | {"width_multiple": width} for width in (1, 0.5)
    ),
    "a sum of other parts": tuple({**SUM_OF_PARTS, "width_multiple": width} for width in (1, 0.5)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_graphs_leave_the_start_as_it_is(name: str) -> None:
    theirs, ours = OTHERS[name]
    start = start_of(detector(theirs), theirs)
    assert narrowed(start, detector(ours)) is start


def test_a_start_that_cannot_be_built_or_does_not_fit_its_architecture_stays_as_it_is(wide: ClipDetector) -> None:
    start = start_of(wide, WIDE)
    for strange in (
        replace(start, architecture={**WIDE, "activation": SILU}),
        replace(start, tensors={**start.tensors, "model.1.bn.bias": torch.zeros(12)}),
    ):
        assert narrowed(strange, detector(NARROW)) is strange


def test_random_numbers_go_on_as_without_it(wide: ClipDetector) -> None:
    model = detector(NARROW)
    torch.manual_seed(1)
    narrowed(start_of(wide, WIDE), model)
    found = torch.rand(1)
    assert torch.equal(found, torch.rand(1, generator=torch.Generator().manual_seed(1)))


def test_output_rows_go_by_class_name(wide: ClipDetector) -> None:
    model = detector(NARROW, ("ring", "Dot", "cell"))
    fresh = model.state_dict()["model.8.cv3.1.0.weight"].clone()
    taken = start_from_(model, start_of(wide, WIDE), Path("wide.safetensors"))
    assert (taken.tensors, taken.classes, taken.narrowed) == (taken.of, ("Dot", "cell"), True)
    theirs = wide.state_dict()["model.8.cv3.1.0.weight"][:, KEPT[4]]
    assert torch.equal(model.state_dict()["model.8.cv3.1.0.weight"], torch.stack([fresh[0], theirs[1], theirs[0]]))
    assert not start_from_(model, start_of(model, NARROW), Path("same.safetensors")).narrowed


def test_the_nano_model_has_the_layers_of_the_wide_one_and_a_third_of_its_operations() -> None:
    """Multiply-accumulates of the convolutions at 320 pixels, and parameters as the YAML says."""
    found, rows = [], []
    for name in ("tiny-yolo-csp", "tiny-yolo-csp-nano"):
        architecture = load_model_yaml(name)
        model = detector(architecture, tuple(map(str, range(20))))
        found.append((macs(model, 320), sum(p.numel() for p in model.parameters())))
        rows.append({key: value for key, value in architecture.items() if key != "width_multiple"})
    (wide_macs, _), (nano_macs, nano_parameters) = found
    assert rows[0] == rows[1]
    assert nano_macs <= wide_macs / 3
    assert 0.945e6 < nano_parameters < 0.955e6


def macs(model: ClipDetector, side: int) -> int:
    counted: list[int] = []

    def count(conv: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        counted.append(output.shape[2:].numel() * conv.weight.numel())

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return sum(counted)

"""Modules of our own in model YAMLs, and the model that needs them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import CBFuse, Detect

from spikedet.common.errors import ConfigError
from spikedet.models import activations, build_detector, load_model_yaml
from spikedet.models.architecture import check_architecture
from spikedet.models.blocks import Add, DirectDetect, known_to_ultralytics

SMALL = {
    "nc": 2,
    "activation": "torch.nn.ReLU()",
    "reg_max": 4,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 1, 1, None, 1, 1, False]]],
    "head": [[[0, 1], 1, "Add", []], [[2], 1, "DirectDetect", ["nc"]]],
}


@pytest.mark.parametrize("count", [2, 3])
def test_add_sums_its_inputs(count: int) -> None:
    inputs = [torch.randint(-8, 8, (2, 3, 4, 5)).float() for _ in range(count)]
    assert torch.equal(Add()(inputs), sum(inputs))


def test_a_model_of_them_is_built_and_ultralytics_is_left_as_it_was() -> None:
    model = build_detector(SMALL, ("a", "b"))
    assert isinstance(model.model[2], Add) and type(model.model[-1]) is DirectDetect
    assert tasks.CBFuse is CBFuse and tasks.Detect is Detect
    head = model.model[-1]
    assert [len(branch) for branch in (*head.cv2, *head.cv3)] == [1, 1]
    assert isinstance(head.cv2[0][0], nn.Conv2d) and head.cv2[0][0].out_channels == 16
    decoded, maps = model.eval()(torch.rand(2, 3, 32, 64))
    assert decoded.shape == (2, 4 + 2, 16 * 32) and maps["boxes"].shape == (2, 16, 16 * 32)


def test_ultralytics_is_left_as_it_was_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), known_to_ultralytics(SMALL) as readable:
        assert readable["head"][0][2] == "CBFuse" and SMALL["head"][0][2] == "Add"
        assert tasks.Detect is DirectDetect
        raise ZeroDivisionError
    assert tasks.CBFuse is CBFuse and tasks.Detect is Detect


def test_a_convolution_without_activation_is_clipped_on_both_sides() -> None:
    slopes = [activation.slope for _, activation in activations(build_detector(SMALL, ("a", "b")))]
    assert slopes == [0.0, 1.0]


def test_sums_and_heads_read_from_lists() -> None:
    for index, row in ((0, [1, 1, "Add", []]), (1, [2, 1, "DirectDetect", ["nc"]])):
        head = [*SMALL["head"]]
        head[index] = row
        with pytest.raises(ConfigError, match="only Concat, Add, Detect, DirectDetect read from a list"):
            check_architecture({**SMALL, "head": head}, "x")


def test_the_csp_model() -> None:
    """Its layers are NanoDet-g's: three strides, 11 distance bins, three linear laterals, less than 4 M parameters."""
    model = build_detector(load_model_yaml("tiny-yolo-csp"), [str(i) for i in range(20)])
    assert model.stride.tolist() == [8, 16, 32] and model.model[-1].reg_max == 11
    assert [a.slope for _, a in activations(model)].count(1.0) == 3
    assert sum(p.numel() for p in model.parameters()) < 4e6

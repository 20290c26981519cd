"""Detectors from YAML: what the whitelist lets through, and what is built."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from spikedet.common.errors import ConfigError
from spikedet.config import Activation, Precision
from spikedet.models import ClipDetector, activations, as_qc, build_detector, load_model_yaml
from spikedet.models.architecture import average_pools, check_architecture
from spikedet.quantization import ClippedReLU, QCActivation

NAMES = ("cell", "dot")


def architecture(**changes: Any) -> dict[str, Any]:
    """A small valid one, with these keys changed (``None`` removes)."""
    made: dict[str, Any] = {
        "nc": 2,
        "activation": "torch.nn.ReLU()",
        "reg_max": 4,
        "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 1]]],
        "head": [[[-1], 1, "Detect", ["nc"]]],
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def with_row(*row: Any) -> dict[str, Any]:
    return architecture(backbone=[list(row)])


# --- the whitelist -------------------------------------------------------------------------------------------------


def test_a_plain_architecture_passes() -> None:
    check_architecture(architecture(), "mine.yaml")


@pytest.mark.parametrize("module", ["C2PSA", "nn.LSTM", "os.system", "torchvision.ops.nms", ""])
def test_unknown_modules_are_refused(module: str) -> None:
    listed = "AConv, ADown, Add, Bottleneck, C2, C2f, C3"
    with pytest.raises(ConfigError, match=rf"mine\.yaml: layer 0 uses .* not supported; use one of {listed}"):
        check_architecture(with_row(-1, 1, module, [8, 3, 2]), "mine.yaml")


def test_a_block_may_not_repeat_its_parts_without_end() -> None:
    check_architecture(with_row(-1, 1, "RepNCSPELAN4", [8, 8, 8, 100]), "mine.yaml")
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: layer 0 has the argument 101; expected at most 100 repeats, the fourth"
    ):
        check_architecture(with_row(-1, 1, "RepNCSPELAN4", [8, 8, 8, 101]), "mine.yaml")


@pytest.mark.parametrize(
    "activation", ["nn.SiLU()", "nn.LeakyReLU(2.0)", "nn.LeakyReLU(0.1, True)", "torch.nn.ReLU(); print(1)", 3]
)
def test_unknown_activations_are_refused(activation: object) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml: activation .* cannot spike; write activation: torch"):
        check_architecture(architecture(activation=activation), "mine.yaml")


def test_an_activation_must_be_named() -> None:
    with pytest.raises(ConfigError, match=r"activation 'SiLU \(none is named\)' cannot spike"):
        check_architecture(architecture(activation=None), "mine.yaml")


@pytest.mark.parametrize("key", ["ends", "end2end", "kpt_shape", "ch", 3])
def test_unknown_keys_are_refused(key: object) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: unknown key '{key}'; known keys are activation, backbone"):
        check_architecture({**architecture(), key: 1}, "mine.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": {"n": [1, 1]}}, "scales must give three numbers"),
        ({"scales": [1]}, "scales must give three numbers"),
        ({"scales": {"n": [1, 1, "x"]}}, "scales must give three numbers"),
        ({"scales": {"n": [1, 1, 64]}, "scale": "s"}, "there is no scale 's'; expected one of n"),
        ({"scale": "n"}, "there is no scale 'n'; expected one of none"),
        ({"scale": ["n"]}, "there is no scale a list; expected one of none"),
    ],
)
def test_scales_are_numbers_by_letter(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_architecture(architecture(**changes), "mine.yaml")
    check_architecture(architecture(scales={"n": [1, 0.5, 64]}, scale="n"), "mine.yaml")


@pytest.mark.parametrize("argument", ["__import__('os').system('true')", "bilinear", "d", "True"])
def test_text_arguments_are_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml: layer 0 has the argument .*, which is not allowed"):
        check_architecture(with_row(-1, 1, "Conv", [8, argument, 2]), "mine.yaml")


@pytest.mark.parametrize("argument", [["__import__('os').system('true')"], [[1, "d"]], {"k": 1}])
def test_arguments_within_arguments_are_refused(argument: object) -> None:
    with pytest.raises(ConfigError, match="which is not allowed"):
        check_architecture(with_row(-1, 1, "Conv", [8, argument, 2]), "mine.yaml")


@pytest.mark.parametrize("row", [[-1, 1, "Conv"], [-1, 1, "Conv", 8], "Conv", None])
def test_malformed_layers_are_refused(row: object) -> None:
    with pytest.raises(ConfigError, match=r"layer 0 must be \[from, repeats, module, \[args\]\], got"):
        check_architecture(architecture(backbone=[row]), "mine.yaml")


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": [["x", 1, "Conv", [8, 3, 2]]]},
        {"backbone": [[7, 1, "Conv", [8, 3, 2]]]},
        {"backbone": [[-1, "1", "Conv", [8, 3, 2]]]},
        {"backbone": [[-1, 1, ["Conv"], [8, 3, 2]]]},
        {"backbone": [[-1, 1, "Conv", []]]},
        {"backbone": 3},
        {"backbone": [], "head": []},
        {"activation": ["torch.nn.ReLU()"]},
        {"width_multiple": "1"},
        {"width_multiple": 0},
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        build_detector(architecture(**changes), NAMES)


def test_the_number_of_classes_is_the_data_set_s_and_may_be_left_out() -> None:
    assert build_detector(architecture(nc=None), NAMES).model[-1].nc == len(NAMES)


@pytest.mark.parametrize("value", [None, [], "text", {"backbone": []}, {"head": []}])
def test_an_architecture_is_a_mapping_with_backbone_and_head(value: object) -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml: expected a mapping with backbone and head"):
        check_architecture(value, "mine.yaml")


@pytest.mark.parametrize(
    "changes",
    [
        {"head": [[-1, 1, "Conv", [8]]]},
        {"backbone": [[-1, 1, "Conv", [8]], [[-1], 1, "Detect", ["nc"]]]},
    ],
)
def test_detect_comes_last_and_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="the last layer, and only it, must be one of Detect, DirectDetect"):
        check_architecture(architecture(**changes), "mine.yaml")


BOMB = "[" + "".join(f"&a{i + 1} [{', '.join([f'*a{i}' if i else '1'] * 10)}], " for i in range(9)) + "*a9]"
"""Ten ones, ten times over in each of the next eight lists."""


@pytest.mark.parametrize(
    "backbone",
    [
        "&a [*a]",
        "[[-1, 1, Conv, &a [8, 3, *a]]]",
        f"[[-1, 1, Conv, {BOMB}]]",
        f"[[-1, 1, {BOMB}, [8]]]",
        f"[[{BOMB}, 1, Conv, [8]]]",
        f"[{BOMB}]",
        BOMB,
        f"[[-1, 1, Conv, {'[' * 10}{']' * 10}]]",
        f"[[-1, 1, Conv, [{'8, ' * 10_000}]]]",
    ],
)
def test_lists_without_end_are_refused_at_once(backbone: str, tmp_path: Path) -> None:
    """A few hundred bytes of YAML make a list within itself, or a thousand million numbers."""
    (tmp_path / "mine.yaml").write_text(f"backbone: {backbone}\nhead: [[[-1], 1, Detect, [nc]]]\n")
    message = (
        r"mine\.yaml: too large, or a list lies within itself; expected a model of at most 10000 values in 10 levels"
    )
    with pytest.raises(ConfigError, match=f"{message}$"):
        load_model_yaml(str(tmp_path / "mine.yaml"))


def test_what_is_wrong_is_shown_in_short() -> None:
    for row in ([-1, 1, "x" * 5000, [8]], [-1, 1, "Conv", [8, "x" * 5000]], [-1] * 5000, [-1, "1" * 5000, "Conv", []]):
        with pytest.raises(ConfigError) as error:
            check_architecture(architecture(backbone=[row]), "mine.yaml")
        assert len(str(error.value)) < 400
    with pytest.raises(ConfigError, match=r"mine\.yaml: layer 0 reads from 7; expected earlier layers by index, or -1"):
        check_architecture(with_row([-1, 7], 1, "Concat", [1]), "mine.yaml")
    with pytest.raises(
        ConfigError, match=r"layer 0 has the argument 65; expected kernels, strides and factors up to 64"
    ):
        check_architecture(with_row(-1, 1, "Conv", [8, 65]), "mine.yaml")
    with pytest.raises(ConfigError, match="nc must be a positive number, at most 100000, got a huge number"):
        check_architecture(architecture(nc=10**400), "mine.yaml")


def test_nothing_in_a_yaml_is_evaluated(tmp_path: Path) -> None:
    """Neither our check nor ultralytics behind it may run text; the file the text would make must not appear."""
    trace = tmp_path / "evaluated"
    evil = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    for made in (architecture(activation=evil), with_row(-1, 1, evil, [8]), with_row(-1, 1, "Conv", [8, evil])):
        file = tmp_path / "evil.yaml"
        file.write_text(yaml.safe_dump(made))
        with pytest.raises(ConfigError):
            load_model_yaml(str(file))
        with pytest.raises(ConfigError):
            build_detector(made, NAMES)
    assert not trace.exists()


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_model_by_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(architecture()))
    assert load_model_yaml(str(tmp_path / "mine.yaml")) == architecture()


def test_a_model_that_comes_with_ultralytics_and_its_scale() -> None:
    small, tiny = (load_model_yaml(name, "clip") for name in ("yolov8s.yaml", "yolov3-tiny.yaml"))
    assert (small["scale"], small["activation"]) == ("s", "torch.nn.ReLU()")
    assert "scale" not in tiny
    with pytest.raises(ConfigError, match="activation 'SiLU \\(none is named\\)' cannot spike"):
        load_model_yaml("yolov8n.yaml")
    with pytest.raises(ConfigError, match=r"model .elsewhere/yolov8n\.yaml. not found"):
        load_model_yaml("elsewhere/yolov8n.yaml", "clip")


@pytest.mark.parametrize(("activation", "slope"), [("clip", 0.0), ("leaky", 0.1)])
def test_another_activation_in_place_of_the_files_own(activation: Activation, slope: float, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(architecture(activation="torch.nn.SiLU()")))
    made = build_detector(load_model_yaml(str(tmp_path / "mine.yaml"), activation), NAMES)
    assert {a.slope for _, a in activations(made)} == {slope}


def test_average_pools_take_the_place_of_maxima() -> None:
    source = architecture(backbone=[[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.MaxPool2d", [2, 2]]])
    kept = copy.deepcopy(source)
    assert [row[2] for row in average_pools(source)["backbone"]] == ["Conv", "nn.AvgPool2d"]
    assert source == kept


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError,
        match="model 'huge' not found; expected one of tiny-yolo, tiny-yolo-csp, tiny-yolo-csp-nano, tiny-yolo-nano, "
        "yolov3-tiny-half, ",
    ):
        load_model_yaml("huge")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "not readable as YAML"),
        (b"\xff\xfe\x00", "not readable as YAML"),
        (b"!!python/object/apply:os.system ['true']", "not readable as YAML"),
        (b"a: !!bool maybe", "not readable as YAML"),
        (b"", "expected a mapping"),
    ],
)
def test_a_file_that_is_no_architecture(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: {message}"):
        load_model_yaml(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(("model", "millions"), [("tiny-yolo", 8.1), ("tiny-yolo-nano", 1.2)])
def test_shipped_models_have_their_size(model: str, millions: float) -> None:
    """With 20 classes, as for VOC; the thresholds are a few thousand of them."""
    made = build_detector(load_model_yaml(model), [str(c) for c in range(20)])
    count = sum(p.numel() for p in made.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.05)
    assert made.stride.tolist() == [16, 32]


# --- what is built -------------------------------------------------------------------------------------------------


@pytest.fixture
def model() -> ClipDetector:
    torch.manual_seed(0)
    return build_detector(architecture(), NAMES, theta=3.0)


def test_every_activation_is_its_own_module(model: ClipDetector) -> None:
    found = [activation for _, activation in activations(model)]
    assert len(found) == len({id(a) for a in found}) == len({id(a.log_theta) for a in found}) == 6
    assert not any(isinstance(m, (nn.ReLU, nn.SiLU)) for m in model.modules())
    assert [name for name, _ in activations(model)][:2] == ["model.0.act", "model.1.act"]
    assert all(a.theta.detach().tolist() == pytest.approx([3.0] * a.log_theta.numel()) for a in found)


@pytest.mark.parametrize("activation", ["torch.nn.ReLU()", "nn.ReLU()"])
def test_both_spellings_of_relu_become_clips(activation: str) -> None:
    made = build_detector(architecture(activation=activation), NAMES)
    assert len(list(activations(made))) == 6


def test_every_channel_has_its_threshold(model: ClipDetector) -> None:
    assert [a.log_theta.numel() for _, a in activations(model)] == [8, 8, 16, 16, 8, 8]


def test_building_leaves_the_architecture_and_ultralytics_as_they_were() -> None:
    from ultralytics.nn.modules import Conv

    made = architecture()
    before, default = copy.deepcopy(made), type(Conv.default_act)
    build_detector(made, NAMES)
    assert made == before
    assert type(Conv.default_act) is default


def test_class_names_are_the_model_s(model: ClipDetector) -> None:
    assert model.names == {0: "cell", 1: "dot"}
    assert model.model[-1].nc == 2


def test_build_refuses_what_was_not_checked() -> None:
    with pytest.raises(ConfigError, match="unknown key 'ends'"):
        build_detector({**architecture(), "ends": {}}, NAMES)


def test_qc_copy_has_the_same_tensors_and_shares_none(model: ClipDetector) -> None:
    made = as_qc(model.eval(), 6, noise=0.25)
    found = [a for _, a in activations(made)]
    assert all(type(a) is QCActivation and (a.T, a.noise, a.training) == (6, 0.25, False) for a in found)
    assert len({id(a) for a in found}) == 6
    assert all(type(a) is ClippedReLU for _, a in activations(model))
    assert_copies(model, made)


def test_qc_of_a_qc_takes_the_new_levels(model: ClipDetector) -> None:
    made = as_qc(as_qc(model, 6, noise=0.25), 3)
    assert {(a.T, a.noise) for _, a in activations(made)} == {(3, 0.0)}  # type: ignore[attr-defined]


def assert_copies(source: ClipDetector, made: ClipDetector) -> None:
    """Same tensors by name, and no storage in common."""
    before = {name: value.clone() for name, value in source.state_dict().items()}
    assert before.keys() == made.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())
    twin = copy.deepcopy(made)
    with torch.no_grad():
        for value in made.state_dict().values():
            value.zero_()
    assert all(torch.equal(before[name], value) for name, value in source.state_dict().items())
    made.load_state_dict(twin.state_dict())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_loss_is_float32_and_reaches_every_threshold(model: ClipDetector, precision: Precision) -> None:
    from ultralytics.cfg import get_cfg

    model.args, model.precision = get_cfg(), precision
    batch = {
        "img": torch.rand(2, 3, 32, 64),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.tensor([[0.0], [1.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.4, 0.5, 0.3, 0.5]]),
    }
    for _, activation in activations(model):
        activation.set_theta(torch.full_like(activation.theta, 0.2))
    loss, _ = model.train().loss(batch)
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert all(a.log_theta.grad is not None and a.log_theta.grad.any() for _, a in activations(model))

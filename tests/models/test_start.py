"""The weights that a training starts from: taken over by name, output rows by class, normalization fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, save_checkpoint
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.data.dataset import DetectionDataset, Sample
from spikedet.data.transforms import to_input
from spikedet.models import ClipDetector, activations, build_detector, read_start, start_from_
from spikedet.models.architecture import load_model_yaml
from spikedet.models.builder import UNCLIPPED, build_skeleton
from spikedet.models.imported import Imported
from spikedet.models.start import fit_, load_teacher, matching_rows, normalized, normalizing, starting_weights

META = CheckpointMeta(
    stage="ann",
    model="small",
    architecture={
        "nc": 2,
        "activation": "torch.nn.ReLU()",
        "reg_max": 4,
        "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 1]]],
        "head": [[[-1], 1, "DirectDetect", ["nc"]]],
    },
    class_names=("cell", "dot"),
    image_size=32,
)


@pytest.fixture
def model() -> ClipDetector:
    torch.manual_seed(0)
    made = build_detector(META.architecture, META.class_names).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(0.01)  # activations large enough for eps to be small beside their variance
    return made


@pytest.fixture
def images(tmp_path: Path) -> DetectionDataset:
    random = np.random.default_rng(0)
    samples = []
    for i in range(3):
        cv2.imwrite(str(path := tmp_path / f"{i}.png"), random.integers(0, 255, (32, 32, 3), np.uint8))
        empty = np.zeros(0, bool)
        samples.append(
            Sample(str(i), path, (32, 32), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), empty, empty)
        )
    return DetectionDataset("made", "train", META.class_names, tuple(samples))


def test_the_same_classes_take_all_tensors(model: ClipDetector, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "ann.safetensors", model.state_dict(), META)
    torch.manual_seed(1)
    other = build_detector(META.architecture, META.class_names)
    taken = start_from_(other, read_start(path), path)
    assert (taken.tensors, taken.classes, taken.clipped) == (taken.of, META.class_names, True)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())


def test_output_rows_go_by_class_name(model: ClipDetector, tmp_path: Path) -> None:
    """Classes in another order and of another number; those that the start does not know keep their fresh rows."""
    path = save_checkpoint(tmp_path / "ann.safetensors", model.state_dict(), META)
    other = build_detector(META.architecture, ("ring", "Dot", "cell"))
    fresh = {name: value.clone() for name, value in other.state_dict().items()}
    taken = start_from_(other, read_start(path), path)
    assert taken.classes == ("Dot", "cell")
    for kind in ("weight", "bias"):
        name = f"model.2.cv3.0.0.{kind}"
        made, theirs = other.state_dict()[name], model.state_dict()[name]
        assert torch.equal(made, torch.stack([fresh[name][0], theirs[1], theirs[0]]))
    assert torch.equal(other.state_dict()["model.2.cv2.0.0.weight"], model.state_dict()["model.2.cv2.0.0.weight"])


def test_other_classes_take_the_rest(model: ClipDetector, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "ann.safetensors", model.state_dict(), META)
    other = build_detector(META.architecture, ("one", "two", "three"))
    fresh = {name: value.clone() for name, value in other.state_dict().items()}
    taken = start_from_(other, read_start(path), path)
    assert taken.classes == () and taken.tensors == taken.of - 2
    for name, value in other.state_dict().items():
        assert torch.equal(value, (fresh if ".cv3." in name else model.state_dict())[name])


def test_as_many_other_classes_do_not_take_over_rows(model: ClipDetector, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "ann.safetensors", model.state_dict(), META)
    other = build_detector(META.architecture, ("one", "two"))
    fresh = {name: value.clone() for name, value in other.state_dict().items()}
    start_from_(other, read_start(path), path)
    assert torch.equal(other.state_dict()["model.2.cv3.0.0.weight"], fresh["model.2.cv3.0.0.weight"])


def test_a_start_that_does_not_fit_at_all(model: ClipDetector, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "ann.safetensors", model.state_dict(), META)
    head = [[[-1], 1, "DirectDetect", ["nc"]]]
    wide = build_detector({**META.architecture, "backbone": [[-1, 1, "Conv", [24, 1, 1]]], "head": head}, ("a",))
    names = {name for name in wide.state_dict() if "dfl" in name or "num_batches" in name or "cv2" in name}
    start = read_start(path)
    start = replace(start, tensors={name: value for name, value in start.tensors.items() if name not in names})
    with pytest.raises(CheckpointError, match=r"ann\.safetensors: none of its tensors fits this network"):
        start_from_(wide, start, path)


@pytest.mark.parametrize(
    ("voc", "coco"), [("aeroplane", "airplane"), ("diningtable", "dining table"), ("tvmonitor", "tv"), ("Cat", "cat")]
)
def test_classes_have_other_names_elsewhere(voc: str, coco: str) -> None:
    assert matching_rows([voc, "ring"], ["x", coco]) == matching_rows([coco], ["x", voc]) == {0: 1}


def spread(model: ClipDetector, x: Tensor) -> list[Tensor]:
    """Deviations by channel of what every batch normalization gives, divided by its own scale."""
    seen: list[Tensor] = []
    hooks = [
        m.register_forward_hook(lambda m, _, out: seen.append(out.std((0, 2, 3), correction=0) / m.weight.abs()))
        for m in model.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def test_folded_weights_stay_the_same_function(model: ClipDetector, images: DetectionDataset) -> None:
    start = Imported(META.architecture, META.class_names, 32, model.state_dict())
    for _, activation in activations(model):
        activation.set_theta(torch.full_like(activation.theta, UNCLIPPED))
    x = to_input([images.read_image(i) for i in range(3)], 32)
    before = model(x)[0]
    made = normalized(start, images, 32)
    model.load_state_dict({**model.state_dict(), **{k: v for k, v in made.tensors.items() if "log_theta" not in k}})
    torch.testing.assert_close(model(x)[0], before, rtol=1e-4, atol=1e-3)
    for deviations in spread(model, x):
        torch.testing.assert_close(deviations, torch.ones_like(deviations), rtol=0.1, atol=0)


@torch.no_grad()
def test_exchanged_activations_keep_the_deviation_of_every_layer(model: ClipDetector, images: DetectionDataset) -> None:
    """Statistics of another network: every layer gives mean ``bias`` and deviation ``weight`` again."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.fill_(9.0)
    x = to_input([images.read_image(i) for i in range(3)], 32)
    with normalizing(model, same_function=False):
        model(x)
    for deviations in spread(model, x):
        torch.testing.assert_close(deviations, torch.ones_like(deviations), rtol=0.1, atol=0)


def test_fitting_sets_thresholds_by_channel(model: ClipDetector, images: DetectionDataset) -> None:
    fit_(model, images, 32, 8)
    assert all(a.theta.min() > 0 and a.theta.max() < UNCLIPPED for _, a in activations(model))


def test_a_teacher_gives_the_classes_of_its_student(model: ClipDetector, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "t.safetensors", model.state_dict(), META)
    student = build_detector(META.architecture, ("dot",))
    teacher = load_teacher(path, student)
    assert tuple(teacher.names.values()) == ("dot",)
    x = torch.rand(1, 3, 32, 32)
    expected = model(x)[1]["scores"][:, 1:]
    torch.testing.assert_close(teacher(x)[1]["scores"], expected, rtol=1e-4, atol=1e-4)


def test_a_c_lif_network_cannot_teach(tmp_path: Path) -> None:
    path = tmp_path / "clif.safetensors"
    model = build_detector(META.architecture, META.class_names)
    save_checkpoint(path, model.state_dict(), replace(META, stage="clif", method="clif", T=4))
    with pytest.raises(ConfigError, match=r"clif\.safetensors: the weights of C-LIF neurons are not those of an ANN"):
        load_teacher(path, model)


def test_a_teacher_that_cannot_teach(model: ClipDetector, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "t.safetensors", model.state_dict(), META)
    with pytest.raises(ConfigError, match=r"t\.safetensors: it does not know the class 'ring'"):
        load_teacher(path, build_detector(META.architecture, ("dot", "ring")))
    with pytest.raises(ConfigError, match=r"4 distance bins at strides \[2\.0\], .* 8 at \[2\.0\]; they must be the"):
        load_teacher(path, build_detector({**META.architecture, "reg_max": 8}, ("dot",)))


def test_training_starts_from_the_shipped_source_of_its_model(
    model: ClipDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages of later networks and other architectures are passed over."""
    files = {}
    for name, changes in (("qc", {"stage": "qc", "T": 4}), ("other", {"architecture": {}}), ("own", {})):
        files[name] = save_checkpoint(tmp_path / f"{name}.safetensors", model.state_dict(), replace(META, **changes))
    monkeypatch.setattr("spikedet.models.start.shipped_weights", lambda: files)
    assert starting_weights("auto", META.architecture) == str(files["own"])
    assert starting_weights("auto", {**META.architecture, "reg_max": 8}) == ""
    assert starting_weights("none", META.architecture) == ""
    assert starting_weights("mine.safetensors", META.architecture) == "mine.safetensors"


def test_a_stem_of_twice_the_stride_starts_as_the_network_on_images_of_half_the_size(model: ClipDetector) -> None:
    coarse = build_detector(
        {**META.architecture, "backbone": [[-1, 1, "Conv", [8, 6, 4, 2]], [-1, 1, "Conv", [8, 3, 1]]]}, META.class_names
    ).eval()
    taken = start_from_(coarse, Imported(META.architecture, META.class_names, 32, model.state_dict()), Path("a.pt"))
    assert taken.tensors == taken.of
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        (own, _), (coarser, _) = model(torch.nn.functional.avg_pool2d(image, 2)), coarse(image)
    own[:, :4] *= 2  # pixels
    torch.testing.assert_close(coarser, own, rtol=1e-4, atol=1e-4)


def test_the_nano_model_takes_all_of_the_wide_one_and_has_a_third_of_its_operations() -> None:
    names = tuple(map(str, range(20)))
    (wide, wides), (nano, nanos) = (
        build_skeleton(load_model_yaml(f"tiny-yolo-csp{end}"), names) for end in ("", "-nano")
    )
    shapes, own = ({n: value.shape for n, value in model.state_dict().items()} for model in (wide, nano))
    assert own == {**shapes, "model.0.conv.weight": (32, 3, 6, 6)}
    assert nanos.at(320).operations <= wides.at(320).operations / 3

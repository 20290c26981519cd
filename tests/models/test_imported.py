"""Ultralytics' own checkpoints: read without running what is in them, or refused."""

from __future__ import annotations

import copy
import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import ARCHITECTURE, detector, same
from ultralytics.nn.tasks import DetectionModel

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.commands.convert import convert
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.config import ConvertConfig
from spikedet.data import load_dataset
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic
from spikedet.models import activations, build_detector, import_ultralytics, load_ann, read_start, start_from_
from spikedet.models.architecture import ACTIVATIONS
from spikedet.models.imported import read_ultralytics
from spikedet.quantization import ClippedReLU


def write_pt(path: Path, names: Sequence[str] = ("a", "b"), **changes: Any) -> Path:
    """A file as ultralytics writes it, of a small detector."""
    torch.manual_seed(1)
    model = DetectionModel({**ARCHITECTURE, **changes}, ch=3, nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    torch.save({"model": model.half(), "ema": None, "train_args": {"imgsz": 96}, "epoch": -1}, path)
    return path


def test_what_a_file_says(tmp_path: Path) -> None:
    found = read_ultralytics(write_pt(tmp_path / "net.pt"))
    assert (found.class_names, found.image_size) == (("a", "b"), 96)
    assert found.architecture["activation"] == ARCHITECTURE["activation"]
    assert {value.dtype for name, value in found.tensors.items() if "num_batches" not in name} == {torch.float32}


def test_an_imported_network_answers_as_it_did(tmp_path: Path) -> None:
    source = write_pt(tmp_path / "net.pt")
    model, meta = load_ann(import_ultralytics(source, tmp_path / "ann.safetensors"))
    images = torch.rand(2, 3, 96, 96)
    expected = torch.load(source, weights_only=False)["model"].float().eval()(images)[0]
    torch.testing.assert_close(model(images)[0], expected, rtol=1e-4, atol=1e-3)
    assert (meta.stage, meta.model, meta.image_size, meta.class_names) == ("ann", "net", 96, ("a", "b"))
    assert all(a.theta.min() > 1000 for _, a in activations(model))


def test_another_network_is_not_written_over(tmp_path: Path) -> None:
    """Such as one that was trained into the folder; the same one stays, so that what was made from it knows it."""
    out = import_ultralytics(write_pt(tmp_path / "net.pt"), tmp_path / "ann.safetensors")
    before = file_sha256(out), out.stat().st_ino
    assert import_ultralytics(tmp_path / "net.pt", out) == out
    assert (file_sha256(out), out.stat().st_ino) == before
    tensors, meta = load_checkpoint(out)
    name = next(iter(tensors))
    trained = file_sha256(save_checkpoint(out, tensors | {name: tensors[name] + 1}, meta))
    asked = ConvertConfig(checkpoint=str(tmp_path / "net.pt"), T=4, theta_images=0)
    with pytest.raises(ConfigError, match=r"ann\.safetensors: another network than that of .*net\.pt is there already"):
        convert(asked)
    assert file_sha256(out) == trained and not (tmp_path / "copied.safetensors").exists()
    assert len(convert(replace(asked, out=str(tmp_path / "new")))) == 2


def test_a_model_whose_name_has_no_scale_is_imported_too(tmp_path: Path) -> None:
    """Ultralytics writes ``scale: ''`` for a YAML file such as yolov3-tiny.yaml."""
    found = read_ultralytics(write_pt(tmp_path / "net.pt", scale=""))
    assert "scale" not in found.architecture
    load_ann(import_ultralytics(tmp_path / "net.pt", tmp_path / "ann.safetensors"))


def test_training_starts_from_its_tensors(tmp_path: Path) -> None:
    """Also from a network with SiLU: only the activations differ. The classifier's last layer has other classes."""
    path = write_pt(tmp_path / "net.pt", activation="torch.nn.SiLU()")
    model = detector()
    count = start_from_(model, read_start(path), path).tensors
    state, theirs = model.state_dict(), read_ultralytics(path).tensors
    assert torch.equal(state["model.0.conv.weight"], theirs["model.0.conv.weight"])
    assert 0 < count < len(state)


def test_conversion_needs_images_and_a_known_activation(tmp_path: Path) -> None:
    relu, silu = write_pt(tmp_path / "r.pt"), write_pt(tmp_path / "s.pt", activation="torch.nn.SiLU()")
    with pytest.raises(ConfigError, match=r"r: its checkpoint names no training images; give --data, and --split"):
        convert(ConvertConfig(checkpoint=str(relu), T=4, out=str(tmp_path / "out")))
    with pytest.raises(ConfigError, match=r"s\.pt: activation 'torch\.nn\.SiLU\(\)' cannot spike"):
        convert(ConvertConfig(checkpoint=str(silu), T=4, out=str(tmp_path / "out")))
    written = convert(ConvertConfig(checkpoint=str(relu), T=4, theta_images=0, out=str(tmp_path / "out")))
    assert [path.name for path in written] == ["ann.safetensors", "copied.safetensors"]


def test_conversion_takes_the_training_split_of_the_data(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", SyntheticConfig(train=2, val=1, test=1, image_hw=(64, 64)))
    classes = tuple(load_dataset(tmp_path / "shapes", "train").class_names)
    source, data = write_pt(tmp_path / "net.pt", names=classes), str(tmp_path / "shapes")
    asked = ConvertConfig(checkpoint=str(source), T=2, data=data, theta_images=2)
    unsaid, said = (
        convert(replace(asked, split=split, out=str(tmp_path / f"to{split}")))[1] for split in ("", "train")
    )
    assert same(load_checkpoint(unsaid)[0], load_checkpoint(said)[0])


def test_branches_that_kept_silu_are_not_taken_for_relu(tmp_path: Path) -> None:
    """Ultralytics gives a YAML's activation to every Conv, but not to the RepConv of YOLOv9's blocks."""
    rows = [*ARCHITECTURE["backbone"], [-1, 1, "RepNCSPELAN4", [16, 16, 8]]]
    head = [[[-1], 1, "Detect", ["nc"]]]
    path = write_pt(tmp_path / "net.pt", backbone=rows, head=head)
    with pytest.raises(ConfigError, match=r"net\.pt: activation 'torch\.nn\.SiLU\(\)' cannot spike"):
        import_ultralytics(path, tmp_path / "ann.safetensors")
    architecture = {**ARCHITECTURE, "backbone": rows, "head": head, "activation": ACTIVATIONS["leaky"]}
    model = build_detector(architecture, ("a", "b"))
    assert {a.slope for _, a in activations(model)} == {0.1}
    assert isinstance(model.get_submodule(f"model.{len(rows) - 1}.cv2.0.m.0.cv1.act"), ClippedReLU)
    assert start_from_(model, read_start(path), path).tensors > 0


class Runs:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def test_an_architecture_within_itself_is_refused(tmp_path: Path) -> None:
    model = DetectionModel(copy.deepcopy(ARCHITECTURE), ch=3, nc=2, verbose=False)
    model.yaml["head"].append(model.yaml)
    torch.save({"model": model}, tmp_path / "net.pt")
    with pytest.raises(ConfigError, match=r"net\.pt: too large, or a list lies within itself"):
        import_ultralytics(tmp_path / "net.pt", tmp_path / "ann.safetensors")


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"model": Runs(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"evil\.pt: refused, not an ultralytics detection checkpoint"):
        read_ultralytics(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["nothing", "text", "truncated", "tensors", "number"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.pt"
    whole = write_pt(tmp_path / "net.pt").read_bytes()
    path.write_bytes({"nothing": b"", "text": b"hello", "truncated": whole[:2000]}.get(content, b""))
    if content in ("tensors", "number"):
        torch.save({"model": {"a": torch.ones(2)}} if content == "tensors" else 3, path)
    with pytest.raises(CheckpointError, match=r"x\.pt: refused, not an ultralytics detection checkpoint"):
        read_ultralytics(path)


def test_a_damaged_pickle_is_refused(tmp_path: Path) -> None:
    """One that takes from an empty stack: the restricted unpickler has no error of its own for it."""
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(write_pt(tmp_path / "net.pt")) as whole, zipfile.ZipFile(path, "w") as damaged:
        for name in whole.namelist():
            damaged.writestr(name, b"\x80\x02q\x00." if name.endswith("data.pkl") else whole.read(name))
    with pytest.raises(CheckpointError, match=r"x\.pt: refused, not an ultralytics .* \(list index out of range\)"):
        read_ultralytics(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: no such checkpoint"):
        read_ultralytics(tmp_path / "none.pt")


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = write_pt(tmp_path / "net.pt")
    content = torch.load(path, weights_only=False)
    content["model"].model[0].conv.weight.data.view(-1)[0] = float("nan")
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"net\.pt: refused, .* \(model\.0\.conv\.weight holds NaN or infinite"):
        read_start(path)

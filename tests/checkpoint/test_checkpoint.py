"""Checkpoints: what goes in comes out, and every bad file is refused in one sentence with its name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_detector import chain
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, read_meta, require_same_classes, save_checkpoint
from spikedet.checkpoint.metadata import FORMAT
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError, SpikedetError
from spikedet.models.imported import read_ultralytics

META = CheckpointMeta(
    stage="fine",
    model="tiny",
    architecture={"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": []},
    class_names=("Zelle", "Zähler"),
    image_size=320,
    finetuned=True,
    T=8,
    neuron="signed",
    delay=1,
    data={"data": "synthetic", "split": "train"},
    config={"train": {"lr": 1e-3, "resume": False, "T": None}},
    parent={"file": "qc.safetensors", "sha256": "00", "stage": "qc"},
    notes={"held_out": {"AP": 41.5}},
    seed=3,
)


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "weight": torch.randn(3, 4, 1, 2),
        "bias": torch.randn(3),
        "scalar": torch.tensor(0.5),
        "steps": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "none": torch.zeros(0, 4),
    }


def test_round_trip(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "runs" / "a.safetensors", tensors(), META)
    loaded, meta = load_checkpoint(path)
    assert path == tmp_path / "runs" / "a.safetensors"
    assert meta == META == read_meta(path)
    assert loaded.keys() == tensors().keys()
    for name, value in tensors().items():
        assert torch.equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype


def test_half_precision_is_read_back_as_float32(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    many = {"weight": torch.randn(1000), "steps": torch.tensor(7)}
    save_checkpoint(whole, many, META)
    save_checkpoint(half, many, META, half=True)
    loaded, _ = load_checkpoint(half)
    assert torch.equal(loaded["weight"], many["weight"].half().float())
    assert loaded["weight"].dtype == torch.float32
    assert loaded["steps"] == 7
    assert whole.stat().st_size - half.stat().st_size == 2000


def test_shared_and_strided_tensors_are_written_whole(tmp_path: Path) -> None:
    base = torch.randn(4, 6)
    given = {"a": base, "b": base, "c": base.T, "d": base[1:, ::2].requires_grad_()}
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path / "a.safetensors", given, META))
    assert all(torch.equal(loaded[name], value) for name, value in given.items())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_not_saved(bad: float, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", tensors(), META)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"a\.safetensors: weight holds NaN or infinite values; not saved"):
        save_checkpoint(path, {"weight": torch.tensor([1.0, bad])}, META)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_values_that_half_precision_cannot_hold_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="weight holds NaN or infinite values"):
        save_checkpoint(tmp_path / "a.safetensors", {"weight": torch.tensor([1e6])}, META, half=True)
    assert not list(tmp_path.iterdir())


def test_nan_in_a_file_is_not_loaded(tmp_path: Path) -> None:
    path = write_raw(tmp_path, dataclasses.asdict(META), {"w": torch.tensor([float("nan")])})
    with pytest.raises(CheckpointError, match=r"raw\.safetensors: w holds NaN or infinite values; use an earlier"):
        load_checkpoint(path)


def write_raw(folder: Path, header: Any, values: dict[str, Tensor] | None = None, key: str = "spikedet") -> Path:
    """A safetensors file with any header."""
    path = folder / "raw.safetensors"
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(values or {"w": torch.zeros(2)}, path, metadata={key: text})
    return path


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: no such checkpoint; expected a \.safetensors file"):
        load_checkpoint(tmp_path / "gone.safetensors")


def test_what_is_no_checkpoint_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder; name one of its checkpoints: there is none in it"):
        load_checkpoint(tmp_path)
    for name in ("fine.safetensors", "fine-state.safetensors", "net.pt", "net.yaml"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"name one of its checkpoints: fine\.safetensors$"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"net\.pt: an ultralytics file; import it with spikedet convert"):
        load_checkpoint(tmp_path / "net.pt")
    with pytest.raises(
        CheckpointError, match=r"net\.yaml: a model without weights; train it with spikedet train .* clip, or"
    ):
        load_checkpoint(tmp_path / "net.yaml")


@pytest.mark.parametrize("keep", [0, 4, 200, -1])
def test_a_truncated_file(keep: int, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", tensors(), META)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: not a whole safetensors file .*; was it copied"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"weights, I promise\n" * 9, bytes(range(256)) * 4, b"PK\x03\x04" * 50])
def test_a_file_of_another_kind(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(path)


def test_a_safetensors_file_of_someone_else(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "bare.safetensors")
    for path in (tmp_path / "bare.safetensors", write_raw(tmp_path, {}, key="other")):
        with pytest.raises(CheckpointError, match="a safetensors file, but not one of spikedet's"):
            load_checkpoint(path)


def changed(**values: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(META), **values}


def test_a_newer_format(tmp_path: Path) -> None:
    """Also where it has fields that we do not know yet."""
    path = write_raw(tmp_path, changed(format=FORMAT + 1, colour="blue"))
    with pytest.raises(CheckpointError, match=rf"written in format {FORMAT + 1}, .* up to {FORMAT}; upgrade spikedet"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "header",
    [
        "no json",
        "[" * 100_000,
        "[1, 2]",
        "3",
        changed(class_names=5),
        changed(class_names=[]),
        changed(class_names=["x" * 1001]),
        changed(format="one"),
        {"format": 1},
        changed(config={"train": 3}),
        changed(parent={"file": "a"}),
        changed(graph=[]),
    ],
)
def test_metadata_that_cannot_be_understood(header: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"raw\.safetensors: its metadata (cannot be understood|is not valid)"):
        load_checkpoint(write_raw(tmp_path, header))


def test_an_unknown_stage(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"raw\.safetensors: its metadata is not valid: stage: invalid enum value 'final'"
    ):
        load_checkpoint(write_raw(tmp_path, changed(stage="final")))


def test_a_rule_for_maxima_of_earlier_versions(tmp_path: Path) -> None:
    message = (
        r"raw\.safetensors: its maxima have the rule 'gate', which no longer exists; expected 'count' or 'or'; convert "
        "its ANN again with one of them"
    )
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(write_raw(tmp_path, changed(max_pool="gate")))


@pytest.mark.parametrize(
    "values",
    [
        {"T": "8"},
        {"T": 0},
        {"neuron": "lif"},
        {"max_pool": "first"},
        {"delay": -1},
        {"delay": "1"},
        {"image_size": "320"},
    ],
    ids=str,
)
def test_metadata_of_the_wrong_type_or_range(values: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=next(iter(values))):
        load_checkpoint(write_raw(tmp_path, changed(**values)))


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    """A torch pickle under our name is refused before anything in it runs."""
    path, trace = tmp_path / "a.safetensors", tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (trace,)

    torch.save({"w": Evil()}, path)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(path)
    assert not trace.exists()


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """Writing more bytes than this to a file fails, as on a full disk."""
    resource = pytest.importorskip("resource")  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_on_a_full_disk(path: Path) -> Exception:
    with files_of_at_most(8192), pytest.raises(Exception) as error:
        save_checkpoint(path, {"w": torch.zeros(100_000)}, META)
    return error.value


def test_a_full_disk_leaves_the_last_good_file(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.safetensors", {"w": torch.ones(2)}, META)
    save_on_a_full_disk(path)
    assert load_checkpoint(path)[0]["w"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_full_disk_is_one_of_our_errors(tmp_path: Path) -> None:
    assert isinstance(save_on_a_full_disk(tmp_path / "a.safetensors"), SpikedetError)


@pytest.mark.parametrize(
    ("stage", "spiking"), [("ann", False), ("qc", False), ("copied", True), ("coarse", True), ("fine", True)]
)
def test_converted_networks_are_spiking(stage: Any, spiking: bool) -> None:
    assert dataclasses.replace(META, stage=stage).spiking is spiking


def test_a_network_that_is_there_already_may_stay(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["copied"])
    path = save_checkpoint(tmp_path / "a.safetensors", tensors, meta)
    before = file_sha256(path)
    later = dataclasses.replace(meta, config={}, versions={"git": "later"}, notes={"seconds": 3})
    save_checkpoint(path, tensors, later, keep=True)
    assert file_sha256(path) == before
    name = next(iter(tensors))
    for changed in ((tensors | {name: tensors[name] + 1}, later), (tensors, dataclasses.replace(meta, delay=1))):
        save_checkpoint(path, *changed, keep=True)
        assert file_sha256(path) != before
    path.write_bytes(b"damaged")
    save_checkpoint(path, tensors, meta, keep=True)
    assert file_sha256(path) == before
    earlier = dataclasses.replace(meta, format=1, graph=None)
    before = file_sha256(save_checkpoint(path, tensors, earlier))
    save_checkpoint(path, tensors, meta, keep=True)
    assert file_sha256(path) == before


def test_metadata_that_could_not_be_read_back_are_not_saved(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["copied"])
    with pytest.raises(CheckpointError, match="not saved: T: expected int <= 32767"):
        save_checkpoint(tmp_path / "a.safetensors", tensors, dataclasses.replace(meta, T=40000))
    assert not list(tmp_path.iterdir())


def test_data_of_another_name_have_a_train_split(tmp_path: Path) -> None:
    meta = dataclasses.replace(load_checkpoint(chain()["ann"])[1], data={"data": "/a/voc", "split": "VOC2007/train"})
    assert meta.training_data("", "") == ("/a/voc", "VOC2007/train")
    assert meta.training_data("/b/voc", "") == ("/b/voc", "VOC2007/train")
    assert meta.training_data("/b/mine", "") == ("/b/mine", "train")
    assert meta.training_data("/b/mine", "val") == ("/b/mine", "val")
    imported = dataclasses.replace(meta, data={})
    assert imported.training_data("/b/mine", "") == ("/b/mine", "train")
    assert imported.training_data("/b/mine", "val") == ("/b/mine", "val")
    with pytest.raises(ConfigError, match=r"names no training images; give --data, and --split unless it is train$"):
        imported.training_data("", "train")


def test_images_that_no_training_has_seen_are_remembered() -> None:
    meta = load_checkpoint(chain()["ann"])[1]
    seen = dataclasses.replace(meta, data={"data": "/a/voc", "split": "train", "held_out": 0.05, "seed": 2})
    assert seen.held_out("/b/voc", "train") == (0.05, 2)
    assert seen.held_out("/b/voc", "val") is None and seen.held_out("/a/mine", "train") is None
    older = dataclasses.replace(
        seen, data={"data": "voc", "split": "train"}, config={"train": {"held_out": 0.1, "seed": 7}}
    )
    assert older.held_out("/b/voc", "train") == (0.1, 7)
    assert dataclasses.replace(older, config={}).held_out("/b/voc", "train") is None


@pytest.mark.parametrize("known", [{"held_out": "a"}, {"held_out": 2}, {"seed": -1}, {"seed": 0.5}, {"seed": True}])
def test_what_was_held_out_is_checked(tmp_path: Path, known: dict[str, Any]) -> None:
    """Also where an earlier version kept it, among the settings of the training."""
    tensors, meta = load_checkpoint(chain()["ann"])
    name = next(iter(known))
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: not saved: data\.{name}: expected"):
        save_checkpoint(tmp_path / "a.safetensors", tensors, dataclasses.replace(meta, data={**meta.data, **known}))
    data: Any = {"data": "voc", "split": "train"}
    older = dataclasses.replace(meta, data=data, config={"train": {"held_out": 0.1, "seed": 7, **known}})
    with pytest.raises(CheckpointError, match=rf"tiny: {name}: expected"):
        older.held_out("voc", "train")


def test_a_file_that_was_trained_on_is_not_judged_on(tmp_path: Path) -> None:
    meta = load_checkpoint(chain()["ann"])[1]
    meta = dataclasses.replace(meta, data={"data": "/a/labels.json", "split": "train"})
    with pytest.raises(ConfigError, match=r"labels\.json: one COCO file is one split, and it was trained on"):
        meta.evaluation_data("", "val")
    assert meta.evaluation_data("/a/other.json", "val") == "/a/other.json"
    assert meta.evaluation_data("", "train") == "/a/labels.json"


def test_a_child_names_its_parent(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "qc.safetensors", tensors(), dataclasses.replace(META, stage="qc"))
    child = read_meta(path).child(path, stage="copied", T=4)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert file_sha256(path) == digest
    assert child.parent == {"file": str(path), "sha256": digest, "stage": "qc"}
    assert (child.stage, child.T, child.model) == ("copied", 4, META.model)


def test_versions_are_recorded() -> None:
    assert {"python", "cpu", "torch", "ultralytics", "spikedet", "git"} <= META.versions.keys()


def test_networks_of_other_classes_are_named(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["ann"])
    other = save_checkpoint(
        tmp_path / "other.safetensors", tensors, dataclasses.replace(meta, class_names=tuple("abcd"))
    )
    assert require_same_classes([chain()["fine"]], chain()["ann"], "draw") == meta.class_names
    with pytest.raises(ConfigError, match=r"other.safetensors: its classes are not those of .*; draw networks of one"):
        require_same_classes([chain()["fine"], other], chain()["ann"], "draw")


@pytest.mark.parametrize(("name", "read"), [("a.safetensors", read_meta), ("a.pt", read_ultralytics)])
def test_what_git_lfs_leaves_is_called_that(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 7\n")
    with pytest.raises(
        CheckpointError, match=rf"{re.escape(name)}: a Git LFS pointer, not the file itself; run git lfs pull"
    ):
        read(path)

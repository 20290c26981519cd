"""Which file a split is, and where its images are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikedet.common.errors import DataError
from spikedet.data.coco.files import annotation_files, find_annotations, full_split_name, image_folders, split_files


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    return root


def test_a_folder_without_annotations(tmp_path: Path) -> None:
    assert annotation_files(tmp_path) == []
    assert split_files(tmp_path) == {}
    with pytest.raises(DataError, match="no split 'train'; available: none"):
        find_annotations(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_my_split.json", "my_split"),
        ("annotations/bird_val.json", "val"),
        ("annotations/test.json", "test"),
        ("valid/_annotations.coco.json", "valid"),
    ],
)
def test_the_name_of_a_file(tmp_path: Path, file: str, name: str) -> None:
    assert full_split_name(tmp_path / file) == name


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["instances_val2017", "instances_train2017", "captions_train2017"], ["train", "val"]),
        (["instances_train2014", "instances_train2017", "instances_val2017"], ["val", "train2014", "train2017"]),
        (["instances_train", "instances_train2017"], ["train", "train2017"]),
        (["bird_train", "fish_train", "fish_val"], ["val", "bird_train", "fish_train"]),
        (["train", "val"], ["train", "val"]),
    ],
)
def test_every_split_leads_back_to_its_file(tmp_path: Path, files: list[str], splits: list[str]) -> None:
    root = make(tmp_path, *(f"annotations/{name}.json" for name in files))
    found = split_files(root)
    assert list(found) == splits
    assert {name: find_annotations(root, name) for name in found} == found


@pytest.mark.parametrize(
    ("split", "file"),
    [
        ("train", "instances_train2017"),
        ("train2017", "instances_train2017"),
        ("val", "instances_val"),
        ("trainval", "instances_trainval"),
        ("small", "instances_small-v2"),
        ("extra", "mine_extra_v3"),
    ],
)
def test_the_closest_file_is_taken(tmp_path: Path, split: str, file: str) -> None:
    names = ["train2017", "trainval", "val", "val2017", "small-v2"]
    others = ["captions_train", "mine_extra_v3", "extratrain"]
    root = make(tmp_path, *(f"annotations/{name}.json" for name in [*(f"instances_{n}" for n in names), *others]))
    assert find_annotations(root, split) == root / "annotations" / f"{file}.json"


def test_files_of_equal_right(tmp_path: Path) -> None:
    root = make(tmp_path, "annotations/instances_train2014.json", "annotations/instances_train2017.json")
    with pytest.raises(
        DataError, match=r"'train' may be any of instances_train2014\.json, instances_train2017\.json; name"
    ):
        find_annotations(root, "train")


@pytest.mark.parametrize("split", ["", "test", "rain", "t.ain", "../train"])
def test_unknown_split(tmp_path: Path, split: str) -> None:
    root = make(tmp_path, "annotations/instances_train2017.json", "val/_annotations.coco.json")
    with pytest.raises(DataError, match=r"no split .*; available: train$"):
        find_annotations(root, split)


def test_files_among_their_images(tmp_path: Path) -> None:
    root = make(tmp_path, "train/_annotations.coco.json", "valid/_annotations.coco.json")
    assert split_files(root) == {name: root / name / "_annotations.coco.json" for name in ("train", "valid")}
    assert find_annotations(root, "valid") == root / "valid" / "_annotations.coco.json"


def test_folders_of_the_images(tmp_path: Path) -> None:
    folders = ["train2017", "val2017", "images/train_big", "images/train", "images/val", "other"]
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    file = tmp_path / "annotations" / "instances_train.json"
    shown = ["train2017", "images/train", "images/train_big", "images", "."]
    assert image_folders(tmp_path, file, beside=False) == [tmp_path / name for name in shown]
    (tmp_path / "annotations").mkdir()
    shown[-1:] = ["annotations", "other", "val2017", "."]
    assert image_folders(tmp_path, file, beside=True) == [tmp_path / name for name in shown]

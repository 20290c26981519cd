"""COCO datasets: images found by their names, and nothing outside the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_writers import coco_annotation, coco_content, write_coco, write_image
from voc_writer import fingerprint

from spikedet.common.errors import DataError
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.dataset import BoxIssues

BOX = [1, 2, 3, 4]


def images(*names: str) -> list[Any]:
    return [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]


def ids(dataset: DetectionDataset) -> list[str]:
    return [sample.image_id for sample in dataset.samples]


def test_an_image_without_objects(tmp_path: Path) -> None:
    write_coco(tmp_path, coco_content())
    (sample,) = load_dataset(tmp_path, "train").samples
    assert sample.boxes_xyxy.shape == (0, 4)


def test_literal_sample(tmp_path: Path) -> None:
    objects = [coco_annotation(1, 1, [0.5, 1, 10, 20.25], 7), coco_annotation(2, 1, [0, 0, 40, 30], iscrowd=1)]
    write_coco(tmp_path / "mine", coco_content(objects))
    before = fingerprint(tmp_path)
    dataset = load_dataset(tmp_path / "mine", "train")
    assert fingerprint(tmp_path) == before
    (sample,) = dataset.samples
    assert (dataset.name, dataset.split, dataset.class_names) == ("mine", "train", ("cat", "dog"))
    assert (sample.image_id, sample.image_hw) == ("train2017/a.jpg", (30, 40))
    assert sample.boxes_xyxy.tolist() == [[0.5, 1, 10.5, 21.25], [0, 0, 40, 30]]
    assert sample.labels.tolist() == [1, 0]
    assert sample.difficult.tolist() == sample.crowd.tolist() == [False, True]
    assert dataset.issues == BoxIssues()


@pytest.mark.parametrize(
    ("bbox", "box", "problem"),
    [
        ([-1, 0, 42, 30], [0, 0, 40, 30], ""),
        ([-2, 0, 12, 30], [0, 0, 10, 30], "reaches outside the 40 x 30 image: -2, 0, 12, 30"),
        ([1e308, 0, 1e308, 30], None, "has no area within the 40 x 30 image"),
        ([5, 5, 0, 3], None, "has no area: 5, 5, 0, 3"),
        ([5, 5, 3, -1], [5, 4, 8, 5], "has swapped corners: 5, 5, 3, -1"),
    ],
)
def test_boxes_are_fitted(tmp_path: Path, bbox: list[float], box: list[float] | None, problem: str) -> None:
    write_coco(tmp_path, coco_content([coco_annotation(9, 1, bbox)]))
    dataset = load_dataset(tmp_path, "train")
    assert dataset.samples[0].boxes_xyxy.tolist() == ([] if box is None else [box])
    assert [f"annotation 9 (cat) {problem}" in text for text in dataset.issues.examples] == ([True] if problem else [])
    if problem:
        with pytest.raises(DataError, match=r"instances_train2017\.json: annotation 9 \(cat\) .*; correct"):
            load_dataset(tmp_path, "train", strict=True)


@pytest.mark.parametrize(
    ("image", "file_name"),
    [
        ("train/a.jpg", "a.jpg"),
        ("train2017/deep/a.jpg", "deep/a.jpg"),
        ("images/train/a.jpg", "a.jpg"),
        ("images/train_big/a.jpg", "a.jpg"),
        ("images/a.jpg", "a.jpg"),
        ("a.jpg", "a.jpg"),
        ("train2017/a.jpg", "train2017/a.jpg"),
        ("other/a.jpg", "train2017/../other/a.jpg"),
    ],
)
def test_where_images_may_lie(tmp_path: Path, image: str, file_name: str) -> None:
    write_coco(tmp_path, coco_content(images=images(file_name)), images=[image, "val2017/a.jpg"])
    assert ids(load_dataset(tmp_path, "train")) == [image]


@pytest.mark.parametrize(
    ("file", "image", "name", "split"),
    [
        ("labels.json", "data/a.jpg", "mine", "labels"),
        ("some_val.json", "a.jpg", "mine", "val"),
        ("annotations/instances_val2017.json", "val2017/a.jpg", "mine", "val2017"),
        ("Anno/x.json", "images/a.jpg", "mine", "x"),
        ("train/_annotations.coco.json", "train/a.jpg", "train", "train"),
    ],
)
def test_a_file_given_itself(tmp_path: Path, file: str, image: str, name: str, split: str) -> None:
    path = write_coco(tmp_path / "mine", coco_content(), file, [image])
    dataset = load_dataset(path, "whatever")
    assert (dataset.name, dataset.split, len(dataset)) == (name, split, 1)
    assert dataset.samples[0].image_path == tmp_path / "mine" / image


@pytest.mark.parametrize(
    ("file", "split", "refused"),
    [
        ("annotations/instances_val2017.json", "val", False),
        ("annotations/instances_val2017.json", "val2017", False),
        ("annotations/instances_val2017.json", "test", True),
        ("annotations/instances_train.json", "val", True),
        ("annotations/instances_mine.json", "val", False),
    ],
)
def test_a_file_is_not_another_split(tmp_path: Path, file: str, split: str, refused: bool) -> None:
    path = write_coco(tmp_path / "mine", coco_content(), file, ["a.jpg"])
    if not refused:
        assert len(load_dataset(path, split)) == 1
        return
    with pytest.raises(DataError, match=r"\.json: the split '(train|val)', not '(val|test)'; give --split"):
        load_dataset(path, split)


def test_a_file_given_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path / "mine", coco_content(), "x.json", ["a.jpg"])
    monkeypatch.chdir(tmp_path / "mine")
    dataset = load_dataset("x.json", "train")
    assert (dataset.name, ids(dataset)) == ("mine", ["a.jpg"])


def test_parts_of_a_split_have_one_list_of_classes(tmp_path: Path) -> None:
    write_coco(tmp_path, coco_content(), images=["train2017/a.jpg", "val/a.jpg"])
    val = coco_content([coco_annotation(1, 1, BOX)])
    write_coco(tmp_path, val, "annotations/instances_val.json")
    assert ids(load_dataset(tmp_path, "train+val")) == ["train2017/a.jpg", "val/a.jpg"]
    assert ids(load_dataset(tmp_path, "train + train2017")) == ["train2017/a.jpg"]
    write_coco(tmp_path, val | {"categories": [{"id": 3, "name": "cow"}]}, "annotations/instances_val.json")
    with pytest.raises(DataError, match=r"instances_train2017\.json' and 'instances_val\.json' have different classes"):
        load_dataset(tmp_path, "train+val")


def test_a_file_without_images(tmp_path: Path) -> None:
    write_coco(tmp_path, coco_content(images=[]))
    with pytest.raises(DataError, match=r"instances_train2017\.json: 'images' is empty; expected at least one image"):
        load_dataset(tmp_path, "train")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.json: no such file; expected COCO annotations"):
        load_dataset(tmp_path / "x.json", "train")


@pytest.mark.parametrize(
    ("file_name", "message"),
    [
        ("none.jpg", "image 'none.jpg' not found in .*mine; add it, or correct its file_name"),
        ("../secret.jpg", "'../secret.jpg' leads out of .*mine"),
        ("../../../../../../../../../../etc/passwd", "leads out of"),
        ("/etc/passwd", "'/etc/passwd' leads out of"),
        ("link.jpg", "'link.jpg' leads out of"),
        ("a\0.jpg", "is not a path"),
        ("\ud800.jpg", "is not a path"),
        ("x" * 5000, "not found|is not a path"),
        ("train2017", "image 'train2017' not found"),
    ],
)
def test_images_that_cannot_be(tmp_path: Path, file_name: str, message: str) -> None:
    secret = write_image(tmp_path / "secret.jpg")
    write_coco(tmp_path / "mine", coco_content(images=images("a.jpg", file_name)))
    (tmp_path / "mine" / "train2017" / "link.jpg").symlink_to(secret)
    with pytest.raises(DataError, match=rf"instances_train2017\.json: .*({message})"):
        load_dataset(tmp_path / "mine", "train")
    assert ids(load_dataset(tmp_path / "mine", "train", skip_bad=True)) == ["train2017/a.jpg"]


def test_images_of_the_same_image(tmp_path: Path) -> None:
    names = images("a.jpg", "b.jpg", "../train2017/a.jpg")
    write_coco(tmp_path, coco_content(images=names), images=["train2017/a.jpg", "train2017/b.jpg"])
    with pytest.raises(DataError, match=r"json: 2 images are of the image 'a\.jpg'; put them together"):
        load_dataset(tmp_path, "train")
    assert ids(load_dataset(tmp_path, "train", skip_bad=True)) == ["train2017/b.jpg"]


@pytest.mark.parametrize(
    ("annotation", "left"),
    [
        (coco_annotation(5, 1, [1, 2, 3]), ["train2017/b.jpg"]),
        (coco_annotation(5, 9, BOX), ["train2017/a.jpg", "train2017/b.jpg"]),
    ],
)
def test_broken_annotations_raise_or_leave_out_their_image(tmp_path: Path, annotation: Any, left: list[str]) -> None:
    content = coco_content([annotation], images("a.jpg", "b.jpg"))
    write_coco(tmp_path, content, images=["train2017/a.jpg", "train2017/b.jpg"])
    with pytest.raises(DataError, match=r"instances_train2017\.json: annotation 5 "):
        load_dataset(tmp_path, "train")
    assert ids(load_dataset(tmp_path, "train", skip_bad=True)) == left


names = st.sampled_from(["a.jpg", "../a.jpg", "/a.jpg", "", ".", "a\0", "\ud800"]) | st.text(max_size=6)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.fixed_dictionaries({"id": st.integers(0, 3), "file_name": names}), max_size=4))
def test_any_file_names_are_a_dataset_or_a_data_error(tmp_path: Path, written: list[Any]) -> None:
    write_coco(tmp_path, coco_content(images=written), images=["train2017/a.jpg"])
    for skip_bad in (False, True):
        try:
            dataset = load_dataset(tmp_path, "train", skip_bad=skip_bad)
        except DataError:
            continue
        assert {sample.image_path for sample in dataset.samples} <= {tmp_path / "train2017" / "a.jpg"}

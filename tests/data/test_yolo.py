"""YOLO datasets: where images and labels are looked for, and that nothing leads out of the folder."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from layout_writers import write_image, write_yolo
from voc_writer import fingerprint

from spikedet.common.errors import DataError
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.dataset import BoxIssues
from spikedet.data.sources import find_layout
from spikedet.data.yolo.layout import label_folder

WHOLE = "0 0.5 0.5 1 1\n"


def ids(dataset: DetectionDataset) -> list[str]:
    return [sample.image_id for sample in dataset.samples]


def test_images_without_objects(tmp_path: Path) -> None:
    dataset = load_dataset(write_yolo(tmp_path, {"a": "", "b": None}), "train")
    assert dataset.class_names == ("cat", "dog")
    assert [sample.boxes_xyxy.shape for sample in dataset.samples] == [(0, 4), (0, 4)]


def test_literal_sample(tmp_path: Path) -> None:
    file = write_yolo(tmp_path / "mine", {"a": "1 0.25 0.5 0.5 0.2\n0 0.5 0.5 1 1\n"})
    dataset = load_dataset(file, "train")
    (sample,) = dataset.samples
    assert (dataset.name, dataset.split, dataset.issues) == ("mine", "train", BoxIssues())
    assert (sample.image_id, sample.image_hw) == ("images/train/a.jpg", (30, 40))
    assert sample.image_path == tmp_path / "mine" / "images" / "train" / "a.jpg"
    np.testing.assert_allclose(sample.boxes_xyxy, [[0, 12, 20, 18], [0, 0, 40, 30]], atol=1e-5)
    assert sample.labels.tolist() == [1, 0]
    assert sample.difficult.tolist() == [False, False]


def test_the_folder_stands_for_its_yaml_and_is_left_alone(tmp_path: Path) -> None:
    write_yolo(tmp_path / "mine", {"a": WHOLE})
    before = fingerprint(tmp_path)
    assert ids(load_dataset(tmp_path / "mine", "train", skip_bad=True)) == ["images/train/a.jpg"]
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("name", ["data.yaml", "data.yml", "dataset.yaml"])
def test_names_of_the_yaml(tmp_path: Path, name: str) -> None:
    write_yolo(tmp_path, {"a": WHOLE}).rename(tmp_path / name)
    assert len(load_dataset(tmp_path, "train")) == 1


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/d/images/images/a.b.PNG", "/d/images/labels/a.b.txt"),
        ("/d/train/images/a.jpg", "/d/train/labels/a.txt"),
        ("/d/train/a.jpg", "/d/train/a.txt"),
        ("/d/myimages/images", "/d/myimages/images.txt"),
    ],
)
def test_labels_lie_where_ultralytics_looks(image: str, label: str) -> None:
    assert label_folder(Path(image).parent)[0] / f"{Path(image).stem}.txt" == Path(label)


def test_folders_are_searched_in_depth_for_images_alone(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"b": WHOLE, "a": WHOLE}, "train: images\nnames: [cat]")
    write_image(tmp_path / "images" / "deep" / "c.PNG")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "images" / "._a.jpg").write_text("no image")
    assert ids(load_dataset(file, "train")) == ["images/deep/c.PNG", "images/train/a.jpg", "images/train/b.jpg"]


def test_exports_with_two_dots_mean_their_own_folder(tmp_path: Path) -> None:
    """Roboflow writes ``../train/images`` for ``train/images`` beside the file."""
    write_image(tmp_path / "mine" / "train" / "images" / "a.jpg")
    write_image(tmp_path / "train" / "images" / "secret.jpg")
    (tmp_path / "mine" / "data.yaml").write_text("train: ../train/images\nnames: [cat]")
    assert ids(load_dataset(tmp_path / "mine", "train")) == ["train/images/a.jpg"]


def test_lists_of_images(tmp_path: Path) -> None:
    yaml = "train: lists/train.txt\nval: [images/val, val.txt]\nnames: [cat, dog]"
    file = write_yolo(tmp_path, {"a": WHOLE, "b": WHOLE, "c d": WHOLE}, yaml)
    write_image(tmp_path / "images" / "val" / "v.jpg")
    write_image(tmp_path / "lists" / "images" / "own.jpg")
    lines = ["./images/own.jpg", "", "images/train/c d.jpg", "../images/train/a.jpg", f"{tmp_path}/images/train/b.jpg"]
    (tmp_path / "lists" / "train.txt").write_text("\n".join(lines))
    (tmp_path / "val.txt").write_text("images/train/a.jpg\n./images/val/v.jpg\n")
    train = load_dataset(file, "train")
    assert ids(train) == [
        f"{name}.jpg" for name in ("lists/images/own", *(f"images/train/{n}" for n in ("c d", "a", "b")))
    ]
    assert [len(sample.labels) for sample in train.samples] == [0, 1, 1, 1]
    assert ids(load_dataset(file, "val")) == ["images/val/v.jpg", "images/train/a.jpg"]
    assert len(load_dataset(file, "train + val")) == 5


def test_class_names_are_matched_by_name(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 1 1\n1 .5 .5 1 1\n"})
    assert load_dataset(file, "train", ["dog", "cow", "cat"]).samples[0].labels.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"a\.txt: line 2 has the unknown class 'dog'; known: cat$"):
        load_dataset(file, "train", ["cat"])


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.yaml: no split 'val'; available: train$"):
        load_dataset(write_yolo(tmp_path, {"a": WHOLE}), "train+val")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("gone", "gone: no folder of images and no .txt list"),
        ("data.yaml", "data.yaml: no folder of images and no .txt list"),
        ("labels", "labels: no images in this folder"),
        ("empty.txt", "empty.txt: the list is empty"),
        ("bytes.txt", "bytes.txt: the list cannot be read"),
        ("..", "data.yaml: '..' leads out of"),
        ("/etc", "data.yaml: '/etc' leads out of"),
        ("../other/images", "data.yaml: '../other/images' leads out of"),
        ("link", "data.yaml: 'link' leads out of"),
    ],
)
def test_folders_and_lists_that_cannot_be(tmp_path: Path, train: str, message: str) -> None:
    write_image(tmp_path / "other" / "images" / "a.jpg")
    file = write_yolo(tmp_path / "mine", {"a": WHOLE}, f"train: {train}\nnames: [cat]")
    (tmp_path / "mine" / "empty.txt").write_text("\n")
    (tmp_path / "mine" / "bytes.txt").write_bytes(b"\xff")
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(DataError, match=message):
        load_dataset(file, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../secret.jpg", "leads out of"),
        ("./../secret.jpg", "leads out of"),
        ("/etc/passwd", "leads out of"),
        ("images/link.jpg", "leads out of"),
        ("images/none.jpg", "image 'images/none.jpg' not found"),
        ("a\0b.jpg", "is not a path"),
        ("x" * 5000, "not found|is not a path"),
    ],
)
def test_list_lines_that_cannot_be(tmp_path: Path, line: str, message: str) -> None:
    secret = write_image(tmp_path / "secret.jpg")
    file = write_yolo(tmp_path / "mine", {"a": WHOLE}, "train: list.txt\nnames: [cat]")
    (tmp_path / "mine" / "images" / "link.jpg").symlink_to(secret)
    (tmp_path / "mine" / "list.txt").write_text(f"images/train/a.jpg\n{line}\n")
    with pytest.raises(DataError, match=rf"list\.txt: line 2: .*({message})"):
        load_dataset(file, "train")
    assert ids(load_dataset(file, "train", skip_bad=True)) == ["images/train/a.jpg"]


def test_labels_that_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(WHOLE)
    file = write_yolo(tmp_path / "mine", {"a": None, "b": WHOLE})
    (tmp_path / "mine" / "labels" / "train" / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DataError, match=r"data\.yaml: a\.jpg: 'labels/train/a\.txt' leads out of"):
        load_dataset(file, "train")


def test_labels_beside_the_folder_of_the_yaml(tmp_path: Path) -> None:
    """With ``path`` one folder too deep, ultralytics' rule leads out of the dataset."""
    write_yolo(tmp_path, {"a": WHOLE})
    (tmp_path / "data.yaml").write_text("path: images\ntrain: train\nnames: [cat]")
    with pytest.raises(
        DataError, match=r"outside .*images; set 'path' to the folder that holds both images and labels"
    ):
        load_dataset(tmp_path / "data.yaml", "train")


def test_no_label_file_at_all_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_yolo(tmp_path, {"a": None, "b": None})
    with caplog.at_level(logging.WARNING, logger="spikedet"):
        load_dataset(file, "train")
    (record,) = caplog.records
    assert "not one of 2 images has a label file" in record.getMessage()
    assert record.getMessage().endswith("labels/train/a.txt")


def test_labels_without_a_image(tmp_path: Path) -> None:
    yaml = "train: images/train\nval: val.txt\ntest: beside\nnames: [cat]"
    file = write_yolo(tmp_path, dict.fromkeys("abc", WHOLE), yaml)
    write_image(tmp_path / "beside" / "d.jpg")
    (tmp_path / "val.txt").write_text("images/train/a.jpg")
    labels = tmp_path / "labels" / "train"
    for path in (labels / "e.txt", labels / "b.txt.txt", labels / "classes.txt", tmp_path / "beside" / "notes.txt"):
        path.write_text("")
    layout, images = find_layout(file)[0], tmp_path / "images" / "train"
    lone = [
        f"{labels / name}.txt: no image {name} in {images}; add it, or remove the labels" for name in ("b.txt", "e")
    ]
    assert [list(layout.listing(split).remarks()) for split in ("train", "val", "test")] == [lone, lone, []]


def test_only_repairs_that_were_made_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_dataset(write_yolo(tmp_path, {"a": "0 0.5 0.5 0 1\n0 0.5 0.5 1 1\n"}), "train")
    assert "split train: 1 box without area dropped; first: " in caplog.text


def test_boxes_that_leave_the_image(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of 40 x 30 pixels: two clipped, one half a pixel outside and so no problem, one without area."""
    text = "0 0.95 0.5 0.2 1\n0 0.5 0.5 1.01 0.5\n0 0.005 0.5 1.01 1\n0 0.5 0.5 0 1\n"
    file = write_yolo(tmp_path, {"a": text})
    dataset = load_dataset(file, "train")
    expected = [[34, 0, 40, 30], [0, 7.5, 40, 22.5], [0, 0, 20.4, 30]]
    np.testing.assert_allclose(dataset.samples[0].boxes_xyxy, expected, atol=1e-5)
    assert (dataset.issues.dropped, dataset.issues.clipped) == (1, 2)
    assert dataset.issues.examples[0].endswith(
        "a.txt: line 1 (cat) reaches outside the 40 x 30 image: 0.95, 0.5, 0.2, 1"
    )
    assert "1 box without area dropped, 2 boxes clipped" in caplog.text
    with pytest.raises(DataError, match=r"a\.txt: line 1 \(cat\) reaches outside .*; correct the annotation"):
        load_dataset(file, "train", strict=True)

"""Broken images and annotations in every layout: the first raises, or all are left out and one line says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layout_writers import coco_annotation, coco_content, write_coco, write_yolo
from PIL import Image
from voc_writer import annotation_xml, object_xml, write_year

from spikedet.common.errors import DataError
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.reading import Rules, read_splits
from spikedet.data.voc.layout import VocLayout

NAMES = ("a", "b", "c", "d")
CAT = annotation_xml(object_xml("cat", (1, 1, 10, 20)))


def voc(root: Path) -> Path:
    return write_year(root, dict.fromkeys(NAMES, CAT)) / "JPEGImages"


def yolo(root: Path) -> Path:
    return write_yolo(root, dict.fromkeys(NAMES, "0 .5 .5 1 1")).parent / "images" / "train"


def coco(root: Path) -> Path:
    annotations = [coco_annotation(number, number, [1, 2, 3, 4]) for number in range(1, 5)]
    images = [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(NAMES, start=1)]
    files = [f"train2017/{name}.jpg" for name in NAMES]
    write_coco(root, coco_content(annotations, images), images=files)
    return root / "train2017"


Writer = Callable[[Path], Path]
layouts = pytest.mark.parametrize("write", [voc, yolo, coco])


def truncate(path: Path) -> None:
    """The header stays whole."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def stems(dataset: DetectionDataset) -> list[str]:
    return [sample.image_path.stem for sample in dataset.samples]


@layouts
def test_nothing_broken_nothing_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, write: Writer) -> None:
    write(tmp_path / "mine")
    plain, skipping = (load_dataset(tmp_path / "mine", "train", skip_bad=skip) for skip in (False, True))
    assert stems(plain) == stems(skipping) == list(NAMES)
    assert [sample.image_hw for sample in skipping.samples] == [sample.image_hw for sample in plain.samples]
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 2  # what was recognized


@layouts
def test_broken_images_are_left_out_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, write: Writer
) -> None:
    images = write(tmp_path / "mine")
    truncate(images / "b.jpg")
    (images / "d.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"d\.jpg: not an image"):  # b has a whole header
        load_dataset(tmp_path / "mine", "train")
    with caplog.at_level(logging.WARNING, logger="spikedet"):
        assert stems(load_dataset(tmp_path / "mine", "train", skip_bad=True)) == ["a", "c"]
    (record,) = (found for found in caplog.records if found.levelno == logging.WARNING)
    assert "mine, split train: 2 of 4 left out; first: " in record.getMessage()
    assert "b.jpg: the image is truncated or damaged" in record.getMessage()


@layouts
def test_nothing_left_is_an_error(tmp_path: Path, write: Writer) -> None:
    images = write(tmp_path / "mine")
    for name in NAMES:
        (images / f"{name}.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"mine: split 'train' has no image that can be used; first: .*a\.jpg: not a"):
        load_dataset(tmp_path / "mine", "train", skip_bad=True)


def test_broken_voc_annotations(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", dict.fromkeys(NAMES, CAT), {"train": "a\nb\nc\nd\n../e\nf"})
    (root / "Annotations" / "a.xml").write_text("<annotation>")
    (root / "Annotations" / "b.xml").unlink()
    (root / "JPEGImages" / "c.jpg").unlink()
    with pytest.raises(DataError, match=r"a\.xml: not well-formed"):
        load_dataset(root, "train")
    assert stems(load_dataset(root, "train", skip_bad=True)) == ["d"]


def test_broken_yolo_labels(tmp_path: Path) -> None:
    file = write_yolo(tmp_path, {"a": "0 .5 .5 .1", "b": "0 .5 .5 .1 .1", "c": "7 .5 .5 .1 .1"})
    with pytest.raises(DataError, match=r"a\.txt: line 1 has 4 values"):
        load_dataset(file, "train")
    assert stems(load_dataset(file, "train", skip_bad=True)) == ["b"]


def test_with_strict_a_bad_box_makes_a_bad_image(tmp_path: Path) -> None:
    none = annotation_xml(object_xml("cat", (5, 5, 5, 5)))
    root = write_year(tmp_path / "mine", {"a": none, "b": CAT})
    dataset = load_dataset(root, "train", strict=True, skip_bad=True)
    assert (stems(dataset), dataset.issues.dropped) == (["b"], 0)
    dataset = load_dataset(root, "train", skip_bad=True)
    assert (stems(dataset), dataset.issues.dropped) == (["a", "b"], 1)


def test_an_unknown_class_is_not_skipped(tmp_path: Path) -> None:
    """Else a data set of other classes would be evaluated on what is left of it."""
    root = write_year(tmp_path / "mine", {"a": CAT, "b": CAT.replace("cat", "dog")})
    with pytest.raises(DataError, match=r"b\.xml: object 1 has the unknown class 'dog'; known: cat"):
        load_dataset(root, "train", ["cat"], skip_bad=True)


def test_an_image_of_several_splits_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT, "b": CAT}, {"train": "a", "trainval": "a\nb"})
    seen: list[str] = []

    def read(path: Path) -> np.ndarray:
        seen.append(path.stem)
        return np.zeros((30, 40, 3), np.uint8)

    monkeypatch.setattr("spikedet.data.reading.read_image", read)
    layout = VocLayout(root)
    listings = {split: layout.listing(split) for split in layout.splits()}
    names, contents = read_splits(root, listings, rules=Rules(skip_bad=True))
    assert names == ("cat",)
    assert [len(content.samples) for content in contents.values()] == [1, 2]
    assert seen == ["a", "b"]


def test_every_reason_is_kept_once(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": "", "b": CAT, "c": CAT.replace("cat", "dog")})
    (root / "JPEGImages" / "a.jpg").write_text("no image")
    listings = {"train": VocLayout(root).listing("train")}
    _, contents = read_splits(root, listings, ["cat"], Rules(skip_bad=True, skip_unknown=True))
    content = contents["train"]
    assert [sample.image_path.stem for sample in content.samples] == ["b"]
    assert content.left_out == 2
    files = [reason.split(": ")[0].rpartition("/")[2] for reason in content.bad]
    assert files == ["a.xml", "a.jpg", "c.xml"]

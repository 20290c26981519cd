"""Conversions between the layouts, there and back."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_writers import coco_annotation, coco_content, write_coco, write_image, write_yolo
from voc_writer import annotation_xml, fingerprint, object_xml, write_year

from spikedet.commands.data_convert import data_convert, name_images
from spikedet.common.errors import DataError, SpikedetError
from spikedet.config import DataConvertConfig, LayoutName
from spikedet.data import DetectionDataset, Sample, load_dataset

CAT = object_xml("cat", (1, 1, 10, 20))
DOG = object_xml("a dog &amp; &lt;co>", (3, 4, 40, 30), difficult=1)
LAYOUTS: tuple[LayoutName, ...] = ("voc", "yolo", "coco")


def to(target: LayoutName, data: Path, out: Path, **more: Any) -> Path:
    return data_convert(DataConvertConfig(data=str(data), to=target, out=str(out), **more))


def devkit(root: Path) -> Path:
    """Two years; ``trainval`` has the images of ``train`` and ``val``."""
    first = {"000001": annotation_xml(CAT, DOG), "000002": annotation_xml()}
    write_year(root / "VOC2007", first, {"train": "000001", "val": "000002", "trainval": "000001\n000002"})
    write_year(root / "VOC2012", {"2008_000003": annotation_xml(DOG, CAT)}, {"train": "2008_000003"})
    return root


def assert_same(a: DetectionDataset, b: DetectionDataset, atol: float = 0) -> None:
    assert a.class_names == b.class_names
    assert len(a) == len(b)
    for one, other in zip(a.samples, b.samples, strict=True):
        assert one.image_path.name == other.image_path.name
        assert one.image_path.read_bytes() == other.image_path.read_bytes()
        assert one.image_hw == other.image_hw
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, rtol=0, atol=atol)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.difficult, other.difficult)
        np.testing.assert_array_equal(one.crowd, other.crowd)


def test_a_split_without_objects(tmp_path: Path) -> None:
    file = write_yolo(tmp_path / "from", {"a": None})
    for target in LAYOUTS:
        out = to(target, file, tmp_path / target)
        data = out / "voc.yaml" if target == "voc" else out  # VOC annotations without objects name no class
        assert_same(load_dataset(file, "train"), load_dataset(data, "train"))


@pytest.mark.parametrize("target", LAYOUTS)
def test_without_any_class_there_is_nothing_to_write(tmp_path: Path, target: LayoutName) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml()})
    with pytest.raises(DataError, match="from: no object to learn the classes from; name them in a YAML file"):
        to(target, source, tmp_path / "out")
    (tmp_path / "from.yaml").write_text("data: from\nnames: [cat]")
    out = to(target, tmp_path / "from.yaml", tmp_path / "out")
    assert len(load_dataset(out, "train", ["cat"])) == 1


@pytest.mark.parametrize("target", LAYOUTS)
def test_every_split_of_every_year(tmp_path: Path, target: LayoutName, capsys: pytest.CaptureFixture[str]) -> None:
    source = devkit(tmp_path / "kit")
    before = fingerprint(source)
    out = to(target, source, tmp_path / "new" / "out")
    assert fingerprint(source) == before
    seen, *printed = capsys.readouterr().out.splitlines()
    assert seen.endswith(
        "kit: VOC with ImageSets/Main: 2 train, 1 val, 2 trainval images, 2 classes (a dog & <co>, cat)"
    )
    assert printed[0] == f"{out}: 2 train, 1 val, 2 trainval images in {target} layout, from {source} (voc)"
    assert (len(printed) > 1) == (target == "yolo")
    if target == "yolo":
        assert printed[1] == f"{out}: 2 difficult objects were left out: YOLO labels cannot mark them"
    images = out / ("JPEGImages" if target == "voc" else "images")
    assert len(list(images.iterdir())) == 3
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    for split in ("train", "val", "trainval"):
        found, made = (load_dataset(data, split, ["cat", "a dog & <co>"]) for data in (source, out))
        if target == "yolo":
            assert [len(sample.labels) for sample in made.samples] == [int((~s.difficult).sum()) for s in found.samples]
        else:
            assert_same(found, made)


def test_voc_to_coco_and_back_is_exact(tmp_path: Path) -> None:
    source = devkit(tmp_path / "kit")
    back = to("voc", to("coco", source, tmp_path / "coco"), tmp_path / "back")
    assert_same(load_dataset(source, "train"), load_dataset(back, "train"))
    text = (back / "Annotations" / "000001.xml").read_text()
    assert "<xmin>3</xmin>" in text and "<ymax>30</ymax>" in text


@pytest.mark.parametrize("chain", [*itertools.permutations(LAYOUTS), *((name, name, "voc") for name in LAYOUTS)])
def test_any_way_round_is_the_same_within_a_thousandth_of_a_pixel(
    tmp_path: Path, chain: tuple[LayoutName, ...]
) -> None:
    objects = annotation_xml(CAT, object_xml("dog", (3.25, 4, 39.9, 30)))
    source = write_year(tmp_path / "from", {"a": objects, "b": annotation_xml()}, {"train": "a", "extra": "a\nb"})
    data = source
    for step, target in enumerate(chain):
        data = to(target, data, tmp_path / str(step))
    for split in ("train", "extra"):
        assert_same(load_dataset(source, split), load_dataset(data, split), atol=1e-3)


corner = st.integers(1, 60)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(corner, corner, corner, corner, st.booleans()), min_size=1, max_size=4))
def test_integer_corners_come_back(tmp_path_factory: pytest.TempPathFactory, boxes: list[Any]) -> None:
    root = tmp_path_factory.mktemp("trip")
    objects = [
        object_xml("cat", (min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1), int(hard))
        for x0, y0, x1, y1, hard in boxes
    ]
    source = write_year(root / "from", {"a": annotation_xml(*objects)}, image_wh=(61, 67))
    coco = to("coco", source, root / "coco")
    data = load_dataset(source, "train", ["cat"])
    assert_same(data, load_dataset(to("voc", coco, root / "voc"), "train", ["cat"]))
    yolo = load_dataset(to("voc", to("yolo", source, root / "yolo"), root / "back"), "train", ["cat"])
    easy = ~data.samples[0].difficult
    np.testing.assert_allclose(yolo.samples[0].boxes_xyxy, data.samples[0].boxes_xyxy[easy], rtol=0, atol=1e-3)


# --- what stands in the files ---------------------------------------------------------------------------------------


def test_yolo_files(tmp_path: Path) -> None:
    splits = {"train": "a", "holdout": "a"}
    source = write_year(tmp_path / "from", {"a": annotation_xml(object_xml("cat", (11, 1, 20, 15)))}, splits)
    out = to("yolo", source, tmp_path / "yolo")
    expected = {"train": "train.txt", "splits": {"holdout": "holdout.txt"}, "names": {0: "cat"}}
    assert yaml.safe_load((out / "data.yaml").read_text()) == expected
    assert (out / "train.txt").read_text() == (out / "holdout.txt").read_text() == "./images/a.jpg\n"
    assert (out / "labels" / "a.txt").read_text() == "0 0.375000000 0.250000000 0.250000000 0.500000000\n"


def test_coco_files(tmp_path: Path) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml(DOG)})
    out = to("coco", source, tmp_path / "coco")
    content = json.loads((out / "annotations" / "instances_train.json").read_text())
    box = {"bbox": [2, 3, 38, 27], "area": 1026, "segmentation": []}
    assert content == {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **box, "iscrowd": 1, "difficult": 1}],
        "categories": [{"id": 1, "name": "a dog & <co>"}],
    }


def test_crowds_stay_crowds_where_the_layout_has_them(tmp_path: Path) -> None:
    flags: list[dict[str, int]] = [{"iscrowd": 0}, {"iscrowd": 1}, {"iscrowd": 1, "difficult": 1}]
    objects = [coco_annotation(number, 1, [number, 5, 9, 9], **more) for number, more in enumerate(flags, start=1)]
    write_coco(tmp_path / "from", coco_content(objects))
    coco = to("coco", tmp_path / "from", tmp_path / "coco")
    assert_same(load_dataset(tmp_path / "from", "train"), load_dataset(coco, "train"))
    written = json.loads((coco / "annotations" / "instances_train.json").read_text())["annotations"]
    assert [{key: item[key] for key in ("iscrowd", "difficult") if key in item} for item in written] == flags
    (sample,) = load_dataset(to("voc", coco, tmp_path / "voc"), "train").samples
    assert (sample.difficult.tolist(), sample.crowd.tolist()) == ([False, True, True], [False, False, False])


def test_voc_keeps_the_order_of_the_classes_in_a_file_of_ours(tmp_path: Path) -> None:
    file = write_yolo(tmp_path / "from", {"a": "0 .5 .5 1 1\n1 .5 .5 1 1"}, "train: images\nnames: [zebra, ant, bee]")
    out = to("voc", file, tmp_path / "voc")
    assert load_dataset(out, "train").class_names == ("ant", "zebra")
    assert load_dataset(out / "voc.yaml", "train").class_names == ("zebra", "ant", "bee")


def test_objects_of_a_pixel_have_no_place_in_voc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(
        tmp_path / "from", coco_content([coco_annotation(1, 1, [5, 5, 1, 9]), coco_annotation(2, 1, [5, 5, 2, 2])])
    )
    out = to("voc", tmp_path / "from", tmp_path / "voc")
    assert "1 object of at most one pixel left out: VOC" in capsys.readouterr().out
    assert load_dataset(out, "train", strict=True).samples[0].boxes_xyxy.tolist() == [[5, 5, 7, 7]]


def test_images_are_copied(tmp_path: Path) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml(CAT)})
    out = to("coco", source, tmp_path / "coco")
    assert not (out / "images" / "a.jpg").samefile(source / "JPEGImages" / "a.jpg")


# --- names of images ----------------------------------------------------------------------------------------------


def names(*paths: str) -> list[str]:
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros(0, np.bool_)
    samples = [Sample(path, Path(path), (3, 4), *none) for path in paths]
    return [item.file_name for item in name_images({"train": samples})["train"]]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], []),
        (["x/a.JPG", "x/b.c.png"], ["a.jpg", "b.c.png"]),
        (["train/a.jpg", "val/a.jpg", "val/A.png"], ["a.jpg", "val_a.jpg", "val_A_2.png"]),
        (["x/my cat.jpg", "x/my_cat.jpg"], ["my_cat.jpg", "x_my_cat.jpg"]),
        (["x/a..b.jpg", "x/Käfer?.jpg", "x/....jpg"], ["a_.b.jpg", "Käfer_.jpg", "__.jpg"]),
        (["x/a.jpg", "x/a.jpg"], ["a.jpg", "a.jpg"]),
    ],
)
def test_names(paths: list[str], expected: list[str]) -> None:
    assert names(*paths) == expected


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=6), unique=True))
def test_names_are_plain_and_never_the_same(stems: list[str]) -> None:
    found = [Path(name).stem for name in names(*(f"x/a{stem}.jpg" for stem in stems))]
    assert len({name.casefold() for name in found}) == len(stems)
    assert not any(set(name) & set("/\\ \t\n") or ".." in name for name in found)


def test_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.gif: an image with the suffix '\.gif'; expected one of \.jpg"):
        names("x/a.gif")


def test_an_image_with_two_sets_of_objects_is_there_twice(tmp_path: Path) -> None:
    write_coco(tmp_path / "from", coco_content([coco_annotation(1, 1, [5, 5, 9, 9])]))
    other = coco_content(images=[{"id": 1, "file_name": "train2017/a.jpg"}])
    write_coco(tmp_path / "from", other, "annotations/instances_empty.json")
    out = to("voc", tmp_path / "from", tmp_path / "voc")
    assert sorted(path.name for path in (out / "JPEGImages").iterdir()) == ["a.jpg", "train2017_a.jpg"]
    assert [len(load_dataset(out, split, ["cat"]).samples[0].labels) for split in ("train", "empty")] == [1, 0]


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml(CAT)})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(SpikedetError, match=r"full: there is something already; name a new folder or an empty one"):
        to("coco", source, tmp_path / "full")
    with pytest.raises(SpikedetError, match=r"mine\.txt: there is something already"):
        to("coco", source, tmp_path / "full" / "mine.txt")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert len(load_dataset(to("coco", source, tmp_path / "empty"), "train")) == 1


@pytest.mark.parametrize("out", ["from", "from/new", "from/x/../new"])
def test_nothing_is_written_into_the_dataset(tmp_path: Path, out: str) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml(CAT)})
    before = fingerprint(source)
    with pytest.raises(DataError, match="lies within the dataset"):
        to("coco", source, tmp_path / out)
    assert fingerprint(source) == before


def test_broken_data_leave_nothing_behind_or_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml(CAT), "b": "broken"})
    with pytest.raises(DataError, match=r"b\.xml: not well-formed"):
        to("coco", source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["from"]
    assert len(load_dataset(to("coco", source, tmp_path / "out", skip_bad=True), "train")) == 1
    assert "1 of 2 left out" in caplog.text


def test_a_split_that_is_not_there_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    yaml = "train: images/train\nval: images/val\ntest: images/test\nnames: [cat]"
    file = write_yolo(tmp_path / "from", {"a": "0 .5 .5 1 1"}, yaml)
    root = tmp_path / "from"
    with pytest.raises(DataError, match=r"images/val: no folder of images and no \.txt list"):
        to("coco", file, tmp_path / "out")
    out = to("coco", file, tmp_path / "out", skip_bad=True)
    assert [path.name for path in (out / "annotations").iterdir()] == ["instances_train.json"]
    reason = f"no folder of images and no .txt list of them; {file} names it"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        f"{root}, split {split}: left out; {root / 'images' / split}: {reason}" for split in ("val", "test")
    ]
    file.write_text("val: images/val\nnames: [cat]")
    with pytest.raises(DataError, match=r"from: no split can be used; first: .*images/val: no folder of images"):
        to("coco", file, tmp_path / "none", skip_bad=True)


def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml(CAT)})

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("spikedet.commands.data_convert.write_layout", fail)
    with pytest.raises(
        SpikedetError, match=r"out: writing failed \(No space left on device\); nothing was left behind"
    ):
        to("coco", source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["from"]


def test_a_folder_without_splits(tmp_path: Path) -> None:
    source = write_year(tmp_path / "from", {"a": annotation_xml(CAT)}, {"cat_train": "a 1"})
    out = to("coco", source, tmp_path / "out")
    assert [path.name for path in (out / "annotations").iterdir()] == ["instances_train.json"]


def test_splits_of_different_classes(tmp_path: Path) -> None:
    write_coco(tmp_path / "from", coco_content())
    other = coco_content(images=[{"id": 1, "file_name": "b.jpg"}]) | {"categories": [{"id": 1, "name": "cow"}]}
    write_coco(tmp_path / "from", other, "annotations/instances_val.json", ["val/b.jpg"])
    with pytest.raises(DataError, match="splits 'train' and 'val' have different classes"):
        to("voc", tmp_path / "from", tmp_path / "voc")


def test_a_linked_image_is_copied_as_a_file(tmp_path: Path) -> None:
    image = write_image(tmp_path / "store" / "x.jpg")
    source = write_year(tmp_path / "from", {"a": annotation_xml(CAT)})
    (source / "JPEGImages" / "a.jpg").unlink()
    (source / "JPEGImages" / "a.jpg").symlink_to(image)
    made = to("coco", source, tmp_path / "out") / "images" / "a.jpg"
    assert not made.is_symlink()
    assert made.read_bytes() == image.read_bytes()

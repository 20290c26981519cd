"""VOC folders: splits, boxes, classes, and every way a file can be wrong."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from voc_writer import annotation_xml, fingerprint, load_voc, object_xml, write_year

from spikedet.common import files
from spikedet.common.errors import DataError
from spikedet.data import DetectionDataset
from spikedet.data.dataset import BoxIssues
from spikedet.data.voc.splits import VOC_CLASS_NAMES

OneImage = Callable[[str], Path]
CAT = annotation_xml(object_xml("cat", (1, 1, 10, 20)))
DOG = annotation_xml(object_xml("dog", (5, 6, 7, 8)))


def ids(dataset: DetectionDataset) -> list[str]:
    return [sample.image_id for sample in dataset.samples]


def devkit(root: Path) -> Path:
    write_year(root / "VOC2007", {"000001": CAT, "000002": DOG}, {"train": "000001", "val": "000002"})
    write_year(root / "VOC2012", {"2008_000003": DOG}, {"train": "2008_000003", "cat_train": "2008_000003 -1"})
    return root


# --- what a correct folder gives ------------------------------------------------------------------------------------


def test_image_without_objects_is_kept(one_image: OneImage) -> None:
    dataset = load_voc(one_image(annotation_xml()), "train", ["cell"])
    (sample,) = dataset.samples
    assert sample.boxes_xyxy.shape == (0, 4)
    assert (sample.boxes_xyxy.dtype, sample.labels.dtype, sample.difficult.dtype) == (np.float32, np.int64, np.bool_)
    assert (sample.labels.shape, sample.difficult.shape) == ((0,), (0,))


def test_literal_sample(one_image: OneImage) -> None:
    part = "<part><name>head</name><bndbox><xmin>x</xmin></bndbox></part>"
    first = object_xml("dog", (1, 2, 40, 30), difficult=1).replace("</object>", f"{part}</object>")
    root = one_image(annotation_xml(first, object_xml("cat", (3.5, "1e1", " 20 ", 12.25), difficult=None)))
    dataset = load_voc(root, "train")
    (sample,) = dataset.samples
    assert (dataset.name, dataset.split, dataset.class_names) == ("mine", "train", ("cat", "dog"))
    assert (sample.image_id, sample.image_hw) == ("mine/a", (30, 40))
    assert sample.image_path == root / "JPEGImages" / "a.jpg"
    assert sample.boxes_xyxy.tolist() == [[0, 1, 40, 30], [2.5, 9, 20, 12.25]]
    assert sample.labels.tolist() == [1, 0]
    assert sample.difficult.tolist() == [True, False]
    assert sample.crowd.tolist() == [False, False]
    assert dataset.issues == BoxIssues()


def test_size_comes_from_the_image_after_exif_rotation(one_image: OneImage) -> None:
    size = "<size><width>999</width><height>999</height></size>"
    root = one_image(CAT.replace("</annotation>", f"{size}</annotation>"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(root / "JPEGImages" / "a.jpg", exif=exif)
    assert load_voc(root, "train").samples[0].image_hw == (40, 30)


@pytest.mark.parametrize(("listed", "file"), [("A", "a.JPG"), ("a", "A.jpeg"), ("a", "a.Png"), ("a.b", "a.b.bmp")])
def test_images_are_found_whatever_the_case_and_suffix(tmp_path: Path, listed: str, file: str) -> None:
    root = write_year(tmp_path / "mine", {listed: CAT})
    image = root / "JPEGImages" / file
    (root / "JPEGImages" / f"{listed}.jpg").unlink()
    Image.new("RGB", (8, 8)).save(image)
    (sample,) = load_voc(root, "train").samples
    assert (sample.image_path, sample.image_id) == (image, f"mine/{listed}")


def test_the_exact_name_goes_before_the_same_name_in_other_case(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT, "A": DOG})
    if len(list((root / "JPEGImages").iterdir())) < 2:
        pytest.skip("this file system does not tell upper from lower case")
    assert [sample.image_path.stem for sample in load_voc(root, "train").samples] == ["a", "A"]


def test_flag_column_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT, "b": DOG}, {"train": "\ufeffa  1\r\n\r\nb -1\n"})
    assert ids(load_voc(root, "train")) == ["mine/a", "mine/b"]


def test_names_with_blanks(tmp_path: Path) -> None:
    names = ("my cat", "cat 1", "cat 2", "dog -1", "dog")
    lines = ("my cat  1", "\tcat 1 ", "cat 2 -1", "Dog -1", "dog\t-1")
    root = write_year(tmp_path / "mine", dict.fromkeys(names, CAT), {"train": "\n".join(lines)})
    samples = load_voc(root, "train").samples
    assert [sample.image_id for sample in samples] == [f"mine/{name}" for name in (*names[:3], "Dog -1", "dog")]
    assert [sample.image_path.stem for sample in samples] == list(names)


def test_year_folder_named_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_year(tmp_path / "mine", {"a": CAT})
    monkeypatch.chdir(tmp_path / "mine")
    dataset = load_voc(Path("."), "train")
    assert (dataset.name, ids(dataset)) == ("mine", ["mine/a"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_annotation_encodings(one_image: OneImage, encoding: str) -> None:
    root = one_image("")
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>' + CAT.replace("cat", "Käfer")
    (root / "Annotations" / "a.xml").write_bytes(text.encode(encoding))
    assert load_voc(root, "train").class_names == ("Käfer",)


def test_nothing_is_written_into_the_data_folder(tmp_path: Path) -> None:
    root = devkit(tmp_path / "kit")
    before = fingerprint(root)
    dataset = load_voc(root, "train+val")
    for index in range(len(dataset)):
        dataset.read_image(index)
    assert fingerprint(root) == before


def test_images_are_not_decoded_while_loading(one_image: OneImage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Image.Image) -> None:
        raise AssertionError("decoded")

    root = one_image(CAT)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert len(load_voc(root, "train")) == 1


# --- splits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["VOC2007/000001", "VOC2012/2008_000003"]),
        ("VOC2007/train", ["VOC2007/000001"]),
        ("VOC2012/train+VOC2007/val", ["VOC2012/2008_000003", "VOC2007/000002"]),
        ("VOC2007/train + VOC2012/train", ["VOC2007/000001", "VOC2012/2008_000003"]),
        ("val", ["VOC2007/000002"]),
        ("train+VOC2007/train", ["VOC2007/000001", "VOC2012/2008_000003"]),
    ],
)
def test_splits_of_a_devkit(tmp_path: Path, split: str, expected: list[str]) -> None:
    assert ids(load_voc(devkit(tmp_path / "kit"), split)) == expected


@pytest.mark.parametrize("split", ["test", "", "VOC2012/val", "VOC2007/../VOC2007/train", "/train/", "train+"])
def test_unknown_split_of_a_devkit_lists_those_there_are(tmp_path: Path, split: str) -> None:
    message = "kit: no split .*; available: VOC2007/train, VOC2007/val, VOC2012/train$"
    with pytest.raises(DataError, match=message):
        load_voc(devkit(tmp_path / "kit"), split)


def test_unknown_split_of_a_year(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT}, {"train": "a", "val": "a"})
    with pytest.raises(DataError, match=r"mine: no split 'test'; available: train, val$"):
        load_voc(root, "train+test")
    assert ids(load_voc(root, "mine/val")) == ["mine/a"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_split(tmp_path: Path, text: str) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT}, {"train": text})
    with pytest.raises(DataError, match=r"train\.txt: the split is empty"):
        load_voc(root, "train")


def test_split_that_is_not_text(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT})
    (root / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match=r"train\.txt: the split file cannot be read"):
        load_voc(root, "train")


@pytest.mark.parametrize("name", ["../mine/a", "/etc/passwd", "..", "sub/a", "..\\a"])
def test_ids_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT}, {"train": name})
    with pytest.raises(DataError, match=rf"train\.txt: id {re.escape(repr(name))} is a path"):
        load_voc(root, "train")


def test_paths_in_an_annotation_are_not_followed(one_image: OneImage, tmp_path: Path) -> None:
    Image.new("RGB", (7, 7)).save(tmp_path / "secret.jpg")
    text = CAT.replace("elsewhere.jpg", "../../secret.jpg").replace(
        "<filename>", "<folder>/etc</folder><path>/x</path><filename>"
    )
    root = one_image(text)
    assert load_voc(root, "train").samples[0].image_path == root / "JPEGImages" / "a.jpg"


@pytest.mark.parametrize(
    ("folder", "suffix", "message"),
    [
        ("Annotations", "xml", r"Annotations/a\.xml: annotation not found; add it, or remove 'a' from .*train\.txt"),
        ("JPEGImages", "jpg", r"JPEGImages/a\.jpg: image not found; add it, or remove 'a' from .*train\.txt"),
    ],
)
def test_missing_files(one_image: OneImage, folder: str, suffix: str, message: str) -> None:
    root = one_image(CAT)
    (root / folder / f"a.{suffix}").unlink()
    with pytest.raises(DataError, match=message):
        load_voc(root, "train")


def test_id_with_a_nul_character_is_a_data_error(tmp_path: Path) -> None:
    root = write_year(tmp_path / "mine", {"a": CAT}, {"train": "a\0b"})
    with pytest.raises(DataError, match="annotation not found"):
        load_voc(root, "train")


def test_folder_missing_or_of_another_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: no such folder; expected a folder with Annotations/"):
        load_voc(tmp_path / "none", "train")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="not a VOC dataset; expected a folder with Annotations/"):
        load_voc(tmp_path, "train")


# --- classes --------------------------------------------------------------------------------------------------------


def test_official_names_have_the_official_order(tmp_path: Path) -> None:
    root = devkit(tmp_path / "kit")
    assert len(VOC_CLASS_NAMES) == 20
    assert load_voc(root, "val").class_names == VOC_CLASS_NAMES
    assert load_voc(root / "VOC2012", "train").class_names == VOC_CLASS_NAMES
    assert load_voc(root, "val").samples[0].labels.tolist() == [11]


def test_other_names_in_a_devkit_are_sorted(tmp_path: Path) -> None:
    root = devkit(tmp_path / "kit")
    (root / "VOC2012" / "Annotations" / "2008_000003.xml").write_text(CAT.replace("cat", "ant"))
    assert load_voc(root, "train").class_names == ("ant", "cat")
    assert load_voc(root, "VOC2007/train").class_names == VOC_CLASS_NAMES


def test_no_object_no_names(one_image: OneImage) -> None:
    with pytest.raises(DataError, match="mine: split 'train' has no object to learn the classes from"):
        load_voc(one_image(annotation_xml()), "train")


def test_given_names_set_the_labels(one_image: OneImage) -> None:
    dataset = load_voc(one_image(CAT), "train", ["dog", "cat"])
    assert dataset.class_names == ("dog", "cat")
    assert dataset.samples[0].labels.tolist() == [1]


def test_unknown_class(one_image: OneImage) -> None:
    with pytest.raises(DataError, match=r"a\.xml: object 1 has the unknown class 'cat'; known: dog, cow$"):
        load_voc(one_image(CAT), "train", ["dog", "cow"])


@pytest.mark.parametrize("names", [[], ["cat", "cat"]])
def test_invalid_class_names(one_image: OneImage, names: list[str]) -> None:
    with pytest.raises(DataError, match=r"class names: (no class names|the class name .cat. is there twice)"):
        load_voc(one_image(CAT), "train", names)


# --- boxes (the image is 40 wide and 30 high) ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corners", "box", "clipped"),
    [
        ((1, 1, 40, 30), [0, 0, 40, 30], 0),
        ((0, 0, 39, 29), [0, 0, 39, 29], 0),  # a tool that counts from 0
        ((2, 3, 41, 31), [1, 2, 40, 30], 0),  # one pixel outside
        ((2, 3, 41.5, 30), [1, 2, 40, 30], 1),
        ((-1, 5, 10, 10), [0, 4, 10, 10], 1),
        ((-1e300, -5, 1e300, 99), [0, 0, 40, 30], 1),
        ((7, 7, 7.5, 8), [6, 6, 7.5, 8], 0),
    ],
)
def test_boxes_are_clipped(one_image: OneImage, corners: tuple[float, ...], box: list[float], clipped: int) -> None:
    dataset = load_voc(one_image(annotation_xml(object_xml("cat", corners))), "train")
    assert dataset.samples[0].boxes_xyxy.tolist() == [box]
    assert (dataset.issues.dropped, dataset.issues.clipped) == (0, clipped)


@pytest.mark.parametrize(
    ("corners", "problem"),
    [
        ((5, 5, 5, 9), "has no area: 5, 5, 5, 9"),
        ((41, 1, 45, 9), "has no area within the 40 x 30 image: 41, 1, 45, 9"),
        ((-9, 1, 0, 9), "has no area within the 40 x 30 image: -9, 1, 0, 9"),
        ((7, 7, "7.0000000000001", 8), None),
    ],
)
def test_boxes_without_area_are_dropped(one_image: OneImage, corners: tuple[object, ...], problem: str | None) -> None:
    objects = [object_xml("cat", corners), object_xml("cat", (1, 1, 2, 2))]
    dataset = load_voc(one_image(annotation_xml(*objects)), "train")
    if problem is None:  # a sliver of a VOC box still spans its one pixel
        assert dataset.samples[0].boxes_xyxy.tolist() == [[6, 6, 7, 8], [0, 0, 2, 2]]
        return
    assert dataset.samples[0].boxes_xyxy.tolist() == [[0, 0, 2, 2]]
    assert dataset.samples[0].labels.shape == dataset.samples[0].difficult.shape == (1,)
    assert (dataset.issues.dropped, dataset.issues.clipped) == (1, 0)
    assert dataset.issues.examples[0].endswith(f"a.xml: object 1 (cat) {problem}")


def test_issues_are_logged_once_with_at_most_five_examples(
    one_image: OneImage, caplog: pytest.LogCaptureFixture
) -> None:
    objects = [object_xml("cat", (5, 5, 5, 5))] * 6 + [object_xml("dog", (-8, 1, 9, 9))]
    with caplog.at_level(logging.WARNING, logger="spikedet"):
        issues = load_voc(one_image(annotation_xml(*objects)), "train").issues
    assert (issues.dropped, issues.clipped, len(issues.examples)) == (6, 1, 5)
    (record,) = caplog.records
    assert record.name == "spikedet"
    assert "6 boxes without area dropped, 1 box clipped to" in record.getMessage()
    assert record.getMessage().endswith("a.xml: object 1 (cat) has no area: 5, 5, 5, 5")


def test_no_issues_no_log(one_image: OneImage, caplog: pytest.LogCaptureFixture) -> None:
    load_voc(one_image(CAT), "train", strict=True)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ((5, 5, 5, 9), r"a\.xml: object 2 \(dog\) has no area: .*; correct the annotation"),
        ((5, 5, 50, 9), r"a\.xml: object 2 \(dog\) reaches outside the 40 x 30 image: 5, 5, 50, 9; correct"),
    ],
)
def test_strict_raises_at_the_first_issue(one_image: OneImage, corners: tuple[float, ...], message: str) -> None:
    objects = [object_xml("cat", (1, 1, 2, 2)), object_xml("dog", corners), object_xml("cat", (3, 3, 3, 3))]
    with pytest.raises(DataError, match=message):
        load_voc(one_image(annotation_xml(*objects)), "train", strict=True)


# --- broken annotations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not well-formed XML"),
        ("<annotation><object></annotation>", "not well-formed XML"),
        ("<html/>", "the root element is <html>, expected <annotation>"),
        (CAT.replace("<name>cat</name>", ""), "object 1 has no <name>; add its class"),
        (CAT.replace("cat", "  "), "object 1 has no <name>; add its class"),
        (annotation_xml("<object><name>cat</name></object>"), r"object 1 \(cat\) has no <bndbox>"),
        (CAT.replace("<ymin>1</ymin>", ""), r"object 1 \(cat\) has no <ymin> in its <bndbox>"),
        (CAT.replace("<ymin>1<", "<ymin>left<"), r"object 1 \(cat\) has <ymin>left</ymin>; expected a finite number"),
        (CAT.replace("<ymin>1<", "<ymin><"), "expected a finite number"),
        (CAT.replace("<ymin>1<", "<ymin>nan<"), "<ymin>nan</ymin>; expected a finite number"),
        (CAT.replace("<ymin>1<", "<ymin>1e999<"), "expected a finite number"),
        (CAT.replace("<difficult>0", "<difficult>2"), "<difficult>2</difficult>; expected 0 or 1"),
        ('<?xml version="1.0" encoding="cp037"?>' + CAT, "encoding 'cp037' is not supported"),
        ('<?xml version="1.0" encoding="ascii"?>' + CAT.replace("cat", "Käfer"), "not ascii text"),
    ],
)
def test_invalid_annotation(one_image: OneImage, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.xml: .*{message}"):
        load_voc(one_image(text), "train")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_declarations_are_refused(one_image: OneImage, encoding: str) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "xx"><!ENTITY y "&x;&x;">]>' + CAT.replace("cat", "&y;")
    root = one_image("")
    (root / "Annotations" / "a.xml").write_bytes(bomb.encode(encoding))
    with pytest.raises(DataError, match=r"a\.xml: DOCTYPE and ENTITY declarations are refused"):
        load_voc(root, "train")


def test_huge_annotation_is_refused_unread(one_image: OneImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", len(CAT) - 1)
    with pytest.raises(DataError, match=r"a\.xml: larger than \d+ bytes"):
        load_voc(one_image(CAT), "train")


def test_annotation_that_is_a_folder(one_image: OneImage) -> None:
    root = one_image(CAT)
    (root / "Annotations" / "a.xml").unlink()
    (root / "Annotations" / "a.xml").mkdir()
    with pytest.raises(DataError, match=r"a\.xml: the annotation cannot be read"):
        load_voc(root, "train")


def test_image_that_is_none(one_image: OneImage) -> None:
    root = one_image(CAT)
    (root / "JPEGImages" / "a.jpg").write_text("text")
    with pytest.raises(DataError, match=r"a\.jpg: not an image that can be read"):
        load_voc(root, "train")


numbers = st.one_of(
    st.integers(-50, 90), st.floats(width=32), st.sampled_from(["", "x", "1e400", "-0", "nan", "\u0663"])
)


def assert_valid_or_data_error(root: Path) -> None:
    try:
        dataset = load_voc(root, "train")
    except DataError:
        return
    for sample in dataset.samples:
        boxes = sample.boxes_xyxy
        assert boxes.shape == (len(sample.labels), 4) == (len(sample.difficult), 4)
        assert np.isfinite(boxes).all()
        assert (boxes >= 0).all()
        assert (boxes <= [40, 30, 40, 30]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


TEMPLATE = ('<?xml version="1.0" encoding="utf-8"?>' + CAT + "\n").encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, len(TEMPLATE)), length=st.integers(0, 40), splice=st.binary(max_size=30))
def test_spliced_annotation_is_a_dataset_or_a_data_error(
    tmp_path: Path, start: int, length: int, splice: bytes
) -> None:
    root = tmp_path / "mine" if (tmp_path / "mine").exists() else write_year(tmp_path / "mine", {"a": CAT})
    (root / "Annotations" / "a.xml").write_bytes(TEMPLATE[:start] + splice + TEMPLATE[start + length :])
    assert_valid_or_data_error(root)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=st.lists(st.tuples(numbers, numbers, numbers, numbers), max_size=4))
def test_any_numbers_end_inside_the_image_or_in_a_data_error(
    tmp_path: Path, boxes: list[tuple[object, object, object, object]]
) -> None:
    root = tmp_path / "mine" if (tmp_path / "mine").exists() else write_year(tmp_path / "mine", {"a": CAT})
    text = annotation_xml(*(object_xml("cat", corners) for corners in boxes))
    (root / "Annotations" / "a.xml").write_text(text, encoding="utf-8")
    assert_valid_or_data_error(root)


# --- real data ------------------------------------------------------------------------------------------------------


def test_bccd(real_data: Path) -> None:
    root = real_data / "BCCD"
    if not root.is_dir():
        pytest.skip(f"no BCCD at {root}")
    train, val, test = (load_voc(root, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (205, 87, 72)
    assert train.class_names == val.class_names == test.class_names == ("Platelets", "RBC", "WBC")
    assert sum(part.issues.dropped for part in (train, val, test)) == 2  # BloodImage_00338 and _00343: one each
    assert sum(len(sample.labels) for part in (train, val, test) for sample in part.samples) == 4886
    assert train.read_image(0).shape == (*train.samples[0].image_hw, 3)


def test_bccd_copy_is_strict_about_its_boxes_of_no_size(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "BCCD"
    if not source.is_dir():
        pytest.skip(f"no BCCD at {source}")
    root = write_year(tmp_path / "BCCD", {}, {"train": "BloodImage_00338\nBloodImage_00343\n"})
    for stem in ("BloodImage_00338", "BloodImage_00343"):
        shutil.copy(source / "Annotations" / f"{stem}.xml", root / "Annotations")
        shutil.copy(source / "JPEGImages" / f"{stem}.jpg", root / "JPEGImages")
    assert load_voc(root, "train").issues.dropped == 2
    with pytest.raises(DataError, match=r"BloodImage_00338\.xml: object 13 \(RBC\) has no area: 504, 337, 504, 337"):
        load_voc(root, "train", strict=True)


@pytest.mark.parametrize("name", ["Annotations/a.xml", "ImageSets/Main/train.txt"])
def test_pipes_are_refused_and_not_waited_for(one_image: OneImage, name: str) -> None:
    path = one_image(CAT) / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=rf"{path.name}: a pipe or a device; expected a file"):
        load_voc(path.parents[len(Path(name).parts) - 1], "train")


@pytest.mark.parametrize("name", ["x" * 201, "a&#10;b", "\u202etac"])
def test_names_that_are_no_classes(one_image: OneImage, name: str) -> None:
    with pytest.raises(DataError, match=r"a\.xml: object 1 has the name .* expected at most 200 printable characters"):
        load_voc(one_image(annotation_xml(object_xml(name, (1, 1, 10, 20)))), "train")


def test_a_folder_that_may_not_be_read_is_no_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``lost+found`` of a disk's own; root may read everything, so that the refusal is made here."""
    root, stat = devkit(tmp_path), os.stat
    (root / "lost+found").mkdir()

    def refusing(path: str | Path, **more: bool) -> os.stat_result:
        if "lost+found/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **more)

    monkeypatch.setattr(os, "stat", refusing)
    assert len(load_voc(root, "train")) == 2

"""What fits no layout, or several; usual mess with one remark for each kind; and names that lead to images."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from layout_writers import coco_annotation, coco_content, write_coco, write_image
from voc_writer import annotation_xml, object_xml

from spikedet.common.errors import DataError
from spikedet.data import load_dataset
from spikedet.data.lookup import Lookup
from spikedet.data.pairs import pair
from spikedet.data.sources import find_layout
from spikedet.data.split_names import known_split, split_in_name, split_of_folder, usual_split

CAT = annotation_xml(object_xml("cat", (1, 1, 10, 20)))
LABEL = "0 .5 .5 .2 .2\n"


def files(root: Path, **texts: str) -> Path:
    """Images (without text) and files; ``__`` in a name is ``/``, ``_`` the dot of the ending."""
    for key, text in texts.items():
        stem, _, ending = key.replace("__", "/").rpartition("_")
        path = root / f"{stem}.{ending}"
        if text or ending == "txt":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            write_image(path)
    return root


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split(": ", 1)[1] for record in caplog.records if record.levelno == logging.WARNING]


# --- nothing fits, or too much ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({}, r"Found: no files\. Missing: no image; expected \.jpg"),
        ({"x__a_jpg": ""}, r"Found: x/ has 1 \.jpg\. Missing: annotations of the 1 image: an XML, TXT or JSON file"),
        ({"a_jpg": "", "xml__b_xml": CAT}, "Missing: 1 XML files, and none has the name of an image; xml/b.xml needs"),
        ({"a_jpg": "", "a_xml": "<annotations/>"}, "a.xml is CVAT's own XML; export the task as"),
        ({"a_jpg": "", "a_xml": "<svg/>"}, "a.xml is not a VOC annotation"),
        (
            {"a_jpg": "", "a_txt": LABEL},
            "a.txt is a YOLO label file, but class names are missing; add classes.txt.* 'names' in a Y",
        ),
        ({"a_jpg": "", "a_txt": "a cat on a mat"}, "1 text files, and none is a YOLO label file"),
        ({"a_jpg": "", "b_json": '{"shapes": [], "imagePath": "a.jpg"}'}, "1 LabelMe files, and none has the name of"),
        ({"a_jpg": "", "t_csv": "filename,class,xmin,ymin,xmax,ymax\n"}, "t.csv names no image that is here"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=rf"not a dataset of a layout we know\. .*{message}"):
        load_dataset(files(tmp_path, **texts), "train")


def test_two_readings(tmp_path: Path) -> None:
    root = files(tmp_path, a_jpg="", a_xml=CAT, a_txt=LABEL, classes_txt="cat\n")
    message = r"may be read as voc \(VOC XML beside images\) or yolo \(YOLO labels .*\); choose with --layout voc or"
    with pytest.raises(DataError, match=message):
        load_dataset(root, "train")
    assert len(load_dataset(root, "train", layout="voc").samples[0].labels) == 1
    with pytest.raises(DataError, match=r"not a coco dataset\. Found: \./ has 2 \.txt, 1 \.jpg, 1 \.xml\. Missing"):
        load_dataset(root, "train", layout="coco")


def test_a_reading_that_is_not_whole_is_a_reading(tmp_path: Path) -> None:
    """The raccoons: XML, and tables that were made of it for train, test and both."""
    table = "filename,class,xmin,ymin,xmax,ymax\na.jpg,c,1,2,3,4\n"
    tables = {f"data__{name}_csv": table for name in ("train_labels", "test_labels", "raccoons")}
    root = files(tmp_path, images__a_jpg="", annotations__a_xml=CAT, **tables)
    message = r"may be read as voc \(VOC XML in annotations\) or csv \(.*which of .* is which split.*--layout voc"
    with pytest.raises(DataError, match=message):
        load_dataset(root, "train")
    assert len(load_dataset(root, "train", layout="voc")) == 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            {"a_jpg": "", "a_xml": CAT, "train__b_jpg": "", "train__b_xml": CAT},
            "1 annotated images are in no folder of a",
        ),
        ({"train__val__a_jpg": "", "train__val__a_xml": CAT}, "train/val: this folder is of the splits train and val"),
        ({"x__a_jpg": "", "y__a_jpg": "", "z__a_xml": CAT}, "z/a.xml: it may belong to x/a.jpg or y/a.jpg"),
        ({"x__a_jpg": "", "y__a_xml": CAT, "z__a_xml": CAT}, "x/a.jpg: its annotation may be y/a.xml or z/a.xml"),
        (
            {"a_jpg": "", "a_txt": LABEL, "classes_txt": "cat", "obj_names": "dog"},
            "class names of classes.txt and obj.names",
        ),
        (
            {
                "a_jpg": "",
                "x_csv": "filename,class,xmin,ymin,xmax,ymax\na.jpg,c,1,2,3,4\n",
                "y_csv": "filename,class,xmin,ymin,xmax,ymax\na.jpg,c,1,2,3,4\n",
            },
            "which of x.csv, y.csv is which split",
        ),
        (
            {"a_jpg": "", "a_xml": CAT.replace("cat", "Queen"), "b_jpg": "", "b_xml": CAT.replace("cat", "queen")},
            r"the classes 'Queen' and 'queen' differ in case or spaces only; to merge them.*names: \[queen\]",
        ),
        (
            {
                "train__a_jpg": "",
                "train__a_xml": CAT,
                "test__b_jpg": "",
                "test__b_xml": CAT,
                "train_txt": "b",
                "test_txt": "a",
            },
            "lies in a folder of the split",
        ),
        (
            {"a_jpg": "", "a_xml": CAT, "b_jpg": "", "b_xml": CAT, "x__train_txt": "a", "y__train_txt": "b"},
            "the split 'train' may be x/train.txt or y/train.txt",
        ),
        ({"a_jpg": "", "a_xml": CAT, "train_txt": "a\nb\n", "test_txt": "a"}, "line 2: image 'b' not found; add it"),
    ],
)
def test_what_contradicts_itself(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(files(tmp_path / "mine", **texts), "train")


def test_classes_are_merged_by_naming_them(tmp_path: Path) -> None:
    queens = {
        f"{n}_{e}": CAT.replace("cat", name) if e == "xml" else ""
        for n, name in (("a", "Queen"), ("b", " queen "))
        for e in ("jpg", "xml")
    }
    files(tmp_path / "mine", **queens)
    (tmp_path / "mine.yaml").write_text(f"data: {tmp_path / 'mine'}\nnames: [queen]\nfractions: [1, 0, 0]")
    assert [s.labels.tolist() for s in load_dataset(tmp_path / "mine.yaml", "train").samples] == [[0], [0]]
    (tmp_path / "mine.yaml").write_text("data: mine\nnames: [queen, Queen]")  # or kept apart
    assert [s.labels.tolist() for s in load_dataset(tmp_path / "mine.yaml", "train").samples] == [[1], [0]]


# --- usual mess -------------------------------------------------------------------------------------------------------


def test_images_without_labels_and_labels_without_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = files(tmp_path, a_JPG="", b_jpg="", c_jpg="", x_xml=CAT, y_xml=CAT, docs__d_png="", a_xml=CAT)
    assert len(load_dataset(root, "train")) == 1
    assert said(caplog) == [
        "3 images without an XML file: not used; first: b.jpg",
        "2 annotation files without an image; first: x.xml",
    ]


def test_yolo_images_without_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = {"train__a_jpg": "", "train__a_txt": LABEL, "train__b_jpg": "", "test__c_jpg": "", "test__c_txt": LABEL}
    root = files(tmp_path, docs__d_jpg="", classes_txt="cat", **texts)
    assert [len(sample.labels) for sample in load_dataset(root, "train").samples] == [1, 0]
    assert said(caplog) == [
        "1 image without a label file: taken as without objects; first: train/b.jpg",
        "1 image without a label file: not used; first: docs/d.jpg",
    ]


def test_names_with_signs_and_spaces(tmp_path: Path) -> None:
    root = tmp_path / "my data #1"
    for name in ("a b#c", "ä 100%", "x.y.z"):
        write_image(root / "the images" / f"{name}.jpg")
        (root / "the images" / f"{name}.xml").write_text(CAT)
    assert [s.image_path.stem for s in load_dataset(root, "train").samples] == ["a b#c", "x.y.z", "ä 100%"]


def test_a_split_that_is_called_otherwise(tmp_path: Path) -> None:
    root = files(tmp_path, train__a_jpg="", train__a_xml=CAT, Validation__b_jpg="", Validation__b_xml=CAT)
    for name in ("val", "valid", "validation"):
        dataset = load_dataset(root, name)
        assert (dataset.split, [s.image_id for s in dataset.samples]) == (name, ["Validation/b.jpg"])
    with pytest.raises(DataError, match="no split 'test'; available: train, val"):
        load_dataset(root, "test")


def test_parts_of_existing_layouts_too(tmp_path: Path) -> None:
    write_coco(tmp_path, coco_content(), "valid/_annotations.coco.json", ["valid/a.jpg"])
    write_coco(tmp_path, coco_content(), "train/_annotations.coco.json", ["train/a.jpg"])
    assert load_dataset(tmp_path, "val").samples[0].image_id == "valid/a.jpg"
    assert find_layout(tmp_path)[0].splits() == ["train", "valid"]


# --- the same checks in every reader ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda root: files(root, a_jpg="", a_xml=annotation_xml(object_xml("cat", (0.1, 0.1, 0.5, 0.5)))),
        lambda root: write_coco(root, coco_content([coco_annotation(1, 1, [0.1, 0.2, 0.3, 0.4])])).parents[1],
        lambda root: files(root, a_jpg="", t_csv="filename,class,xmin,ymin,xmax,ymax\na.jpg,c,0.1,0.1,0.5,0.5\n"),
        lambda root: files(
            root,
            a_jpg="",
            a_json=json.dumps(
                {
                    "imagePath": "a.jpg",
                    "shapes": [{"label": "c", "points": [[0.1, 0.2], [0.5, 0.5]], "shape_type": "rectangle"}],
                }
            ),
        ),
    ],
)
def test_fractions_in_the_place_of_pixels(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    with pytest.raises(DataError, match=r"has the corners 0\.1, 0\.\d, 0\.\d, 0\.\d; expected pixels, not fractions"):
        load_dataset(write(tmp_path / "mine"), "train")


@pytest.mark.parametrize("layout", ["voc", "coco", "labelme", "csv"])
def test_boxes_written_for_another_size(tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str) -> None:
    size = "<size><width>30</width><height>40</height></size></annotation>"
    texts = {
        "voc": {"a_xml": CAT.replace("</annotation>", size)},
        "coco": {
            "x_json": json.dumps(coco_content(images=[{"id": 1, "file_name": "a.jpg", "height": 40, "width": 30}]))
        },
        "labelme": {"a_json": json.dumps({"shapes": [], "imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 30})},
        "csv": {"t_csv": "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,30,40,cat,1,2,3,4\n"},
    }
    root = files(tmp_path / "mine", a_jpg="", **texts[layout])
    assert len(load_dataset(root, "train", ["cat", "dog"])) == 1
    (text,) = said(caplog)
    assert "the boxes of 1 of 1 images were written for another size and may be wrong; first: " in text
    assert "written for 30 x 40 pixels, but a.jpg is read as 40 x 30 (rotated)" in text
    for more in ({"strict": True}, {"skip_bad": True}):
        with pytest.raises(DataError, match="written for 30 x 40 pixels"):
            load_dataset(root, "train", ["cat", "dog"], **more)


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train", "train"), ("Valid", "val"), ("testing", "test"), ("train2017", "train"), ("train_images", "train")),
        *(
            ("test_zip", "test"),
            ("instances_val2017", "val"),
            ("_annotations.coco", ""),
            ("train_val", ""),
            ("trains", ""),
        ),
        *(("train_cats", ""), ("images", ""), ("", ""), ("Test Labels", "test"), ("instances_default", "")),
    ],
)
def test_splits_in_names(name: str, split: str) -> None:
    assert split_in_name(name) == split


def test_splits_of_folders_and_other_names() -> None:
    assert [split_of_folder(path) for path in ("", "a/b", "test_zip/test", "images/Train/cam")] == [
        "",
        "",
        "test",
        "train",
    ]
    assert (usual_split("Validation "), usual_split("x")) == ("val", "")
    assert known_split("val", ["train", "valid"]) == "valid"
    assert known_split("val", ["valid", "validation"]) == "val"  # which of the two is not for us to say
    assert known_split("VOC2007/valid", ["val"]) == "VOC2007/val"
    assert known_split("other", ["train"]) == "other"


@pytest.mark.parametrize(
    ("written", "near", "split", "found"),
    [
        *(
            ("b.jpg", "", "", "train/b.jpg"),
            ("C:\\me\\b.jpg", "", "", "train/b.jpg"),
            ("/x/y/B.JPG", "", "", "train/b.jpg"),
        ),
        *(("b", "", "", "train/b.jpg"), ("b.png", "", "", "train/b.jpg"), ("train/a.jpg", "", "", "train/a.jpg")),
        *(
            ("../val/a.jpg", "", "", "val/a.jpg"),
            ("a.jpg", "val", "", "val/a.jpg"),
            ("a.jpg", "", "train", "train/a.jpg"),
        ),
    ],
)
def test_images_by_their_names(written: str, near: str, split: str, found: str) -> None:
    assert Lookup(["train/a.jpg", "val/a.jpg", "train/b.jpg"]).find(written, "x", near, split) == found


@pytest.mark.parametrize("written", ["", "..", "/", "c.jpg", "a.jpg", "x/a.jpg", "\0"])
def test_names_of_no_image_or_of_several(written: str) -> None:
    with pytest.raises(DataError, match=r"^list: image .* (not found|may be train/a\.jpg or val/a\.jpg)"):
        Lookup(["train/a.jpg", "val/a.jpg"]).find(written, "list")


def test_pairs() -> None:
    assert pair([], []) == ([], [])
    pairs, lone = pair(["i/a.jpg", "i/A.jpg", "i/b.jpg"], ["l/a.xml", "l/A.xml", "l/c.xml"])
    assert [(p.image, p.annotation) for p in pairs] == [("i/a.jpg", "l/a.xml"), ("i/A.jpg", "l/A.xml"), ("i/b.jpg", "")]
    assert lone == ["l/c.xml"]
    pairs, _ = pair(["train/x/a.jpg", "test/x/a.jpg"], ["train/y/a.xml", "test/y/a.xml"])
    assert [(p.annotation, p.split) for p in pairs] == [("train/y/a.xml", "train"), ("test/y/a.xml", "test")]
    assert pair(["train/a.jpg"], ["test/a.xml"])[0][0].annotation == ""
    pairs, lone = pair(["x/a.jpg", "y/a.jpg"], ["x/a.xml", "y/a.xml", "z/a.xml"])  # z may be meant for both
    assert [p.problem for p in pairs] == [
        f"{c}/a.jpg: its annotation may be {c}/a.xml or z/a.xml; keep one of them" for c in "xy"
    ]
    assert [p.problem for p in pair(["x/a.jpg", "y/a.jpg"], ["x/a.xml", "y/a.xml"])[0]] == ["", ""]

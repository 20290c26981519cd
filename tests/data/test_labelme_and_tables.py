"""LabelMe's shapes and CSV tables: what is read, and every way in which they can be wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from layout_writers import write_image

from spikedet.common.errors import DataError
from spikedet.data import load_dataset
from spikedet.data.labelme.loose import read_labelme

HEADER = "filename,class,xmin,ymin,xmax,ymax"


def shape(kind: str, points: object, label: object = "cat") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind}


def labelme(root: Path, *shapes: object) -> Path:
    path = write_image(root / "a.jpg").with_suffix(".json")
    path.write_text(json.dumps({"shapes": list(shapes), "imagePath": "a.jpg", "imageData": None}))
    return path


def table(root: Path, text: str) -> Path:
    write_image(root / "a.jpg")
    (root / "t.csv").write_text(text, encoding="utf-8")
    return root


def test_shapes_become_boxes(tmp_path: Path) -> None:
    path = labelme(
        tmp_path,
        shape("rectangle", [[9, 8], [1, 2]]),
        shape("polygon", [[1, 2], [5, 3], [4, 9.5]]),
        shape("circle", [[10, 10], [13, 14]]),
    )
    assert [item.numbers for item in read_labelme(path).objects] == [(1, 2, 9, 8), (1, 2, 5, 9.5), (5, 5, 15, 15)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("x", "is 'x'; expected an object with 'label' and 'points'"),
        (shape("rectangle", [[1, 2], [3, 4]], " "), "has the label ' '; expected its class"),
        (shape("rectangle", []), "has the points a list; expected pairs of finite numbers"),
        (shape("rectangle", [[1, 2], [3, None]]), "expected pairs of finite numbers"),
        (shape("polygon", [[1, 2], [3, math.inf]]), "expected pairs of finite numbers"),
        (shape("line", [[1, 2], [3, 4]]), "is a 'line' and has no area"),
        (shape("point", [[1, 2]]), "is a 'point' and has no area"),
    ],
)
def test_shapes_that_are_wrong(tmp_path: Path, wrong: object, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.json: shape 2 {message}|a\.json: shape 2 has .*{message}"):
        read_labelme(labelme(tmp_path, shape("rectangle", [[1, 2], [3, 4]]), wrong))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"shapes": 3}'])
def test_files_that_are_no_labelme(tmp_path: Path, text: str) -> None:
    path = labelme(tmp_path)
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json: (not valid JSON|no list 'shapes')"):
        read_labelme(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables(tmp_path: Path, delimiter: str) -> None:
    rows = [HEADER, "a.jpg,cat,1,2,3.5,4", 'a.jpg,"cat",5,6,7,8', ""]
    root = table(tmp_path, "\ufeff" + "\r\n".join(rows).replace(",", delimiter))
    write_image(root / "b.jpg")
    with (root / "t.csv").open("a") as file:
        file.write(f"b.jpg{delimiter * 5}\n")
    samples = load_dataset(root, "train", fractions="1,0,0").samples
    assert [sample.boxes_xyxy.tolist() for sample in samples] == [[[1, 2, 3.5, 4], [5, 6, 7, 8]], []]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,cat,1,2,3", "line 2 has 5 cells; expected 6"),
        ("b.jpg,cat,1,2,3,4", "line 2: image 'b.jpg' not found"),
        ("a.jpg,cat,1,2,x,4", "line 2 has the corner 'x'; expected a finite number"),
        ("a.jpg,,1,2,3,4", "line 2 has no class"),
    ],
)
def test_rows_that_are_wrong(tmp_path: Path, row: str, message: str) -> None:
    root = table(tmp_path, f"{HEADER}\n{row}\na.jpg,cat,1,2,3,4\n")
    with pytest.raises(DataError, match=rf"t\.csv: {message}"):
        load_dataset(root, "train")


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    root = table(tmp_path, f"{HEADER}\n")
    (root / "t.csv").write_bytes(f"{HEADER}\na.jpg,".encode() + b"\xff,1,2,3,4\n")
    with pytest.raises(DataError, match=r"t\.csv: not UTF-8 text"):
        load_dataset(root, "train")


def test_a_file_of_another_kind_with_bare_carriage_returns_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_bytes(b"name,age\rx,1\r")
    labelme(tmp_path, shape("rectangle", [[1, 2], [9, 8]]))
    assert len(load_dataset(str(tmp_path), "train", fractions="1,0,0")) == 1

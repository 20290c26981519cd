"""Label lines: boxes by hand, and everything that is none."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spikedet.common import files
from spikedet.common.errors import DataError
from spikedet.data.layout import WrittenObject
from spikedet.data.yolo.labels import read_labels, yolo_edges

NAMES = ("cat", "dog")


def read(folder: Path, text: str | bytes) -> list[WrittenObject]:
    path = folder / "a.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labels(path, NAMES).objects


def test_no_file_and_an_empty_one_have_no_objects(tmp_path: Path) -> None:
    assert read_labels(tmp_path / "none.txt", NAMES).objects == []
    assert read(tmp_path, "") == read(tmp_path, " \n\n") == []


def test_lines(tmp_path: Path) -> None:
    text = "\ufeff1 0.5 0.5 0.25 1\n\n 0.0\t1e-1 .2 0 -0.005 \r\n"
    assert read(tmp_path, text) == [
        WrittenObject("line 1", "dog", (0.5, 0.5, 0.25, 1.0)),
        WrittenObject("line 3", "cat", (0.1, 0.2, 0.0, -0.005)),
    ]


@pytest.mark.parametrize(
    ("numbers", "edges"),
    [
        ((0.5, 0.5, 1, 1), (0, 0, 40, 30)),
        ((0.25, 0.5, 0.5, 0.2), (0, 12, 20, 18)),
        ((0.5, 0.5, 0, 1), (20, 0, 20, 30)),
        ((1, 1, 0.5, 0.5), (30, 22.5, 50, 37.5)),
    ],
)
def test_edges_in_a_image_of_40_by_30(numbers: tuple[float, ...], edges: tuple[float, ...]) -> None:
    assert yolo_edges(numbers, (30, 40)) == pytest.approx(edges, abs=1e-12)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0", "has 1 value; expected a box, 'class cx cy w h'"),
        ("0 .5 .5 .1 .1 .9", "has 6 values; expected a box, 'class cx cy w h'"),
        ("0 .1 .1 .2 .1 .2 .2", "has 7 values, perhaps a segmentation polygon; expected a box"),
        ("2 .5 .5 .1 .1", "has class 2; expected a whole number from 0 to 1"),
        ("-1 .5 .5 .1 .1", "has class -1; expected a whole number"),
        ("0.5 .5 .5 .1 .1", "has class 0.5; expected a whole number"),
        ("cat .5 .5 .1 .1", "has 'cat'; expected a finite number"),
        ("0 .5 nan .1 .1", "has 'nan'; expected a finite number"),
        ("0 .5 .5 inf .1", "has 'inf'; expected a finite number"),
        ("0 .5 .5 1e999 .1", "has '1e999'; expected a finite number"),
        ("0 .5 .5 1.02 .1", "has 1.02; expected fractions of the image, 0 to 1, not pixels"),
        ("0 20 15 10 10", "has 20; expected fractions"),
        ("0 .5 .5 -.2 .1", "has -.2; expected fractions"),
    ],
)
def test_lines_that_are_no_box(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.txt: line 2 {message}"):
        read(tmp_path, f"0 .5 .5 .1 .1\n{line}\n")


def test_files_that_are_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"a\.txt: the labels cannot be read .not UTF-8 text"):
        read(tmp_path, b"\xff\xfe\x00")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(DataError, match=r"folder\.txt: the labels cannot be read"):
        read_labels(tmp_path / "folder.txt", NAMES)
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 3)
    with pytest.raises(DataError, match=r"a\.txt: larger than 3 bytes"):
        read(tmp_path, "0 .5 .5 .1 .1")


words = st.sampled_from(["0", "1", "0.5", "-0", "nan", "1e400", "1.005", "\u0663", "x", "\x1c", "\n", " "])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.lists(words, max_size=14).map(lambda parts: " ".join(parts).encode()))
@example(b"0 .5 .5 .1 .1")
def test_any_bytes_are_objects_or_a_data_error(tmp_path: Path, content: bytes) -> None:
    try:
        objects = read(tmp_path, content)
    except DataError as error:
        assert str(error).startswith(str(tmp_path / "a.txt"))
        return
    for item in objects:
        assert item.name in NAMES
        assert all(math.isfinite(number) and -0.01 <= number <= 1.01 for number in item.numbers)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"a\.txt: a pipe or a device; expected a file"):
        read_labels(tmp_path / "a.txt", NAMES)

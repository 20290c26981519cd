"""Small words that every layout uses."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spikedet.common.errors import DataError
from spikedet.data.class_names import check_same_names, checked_class_names
from spikedet.data.layout import Entry, broken_entry, folder_name, unique_entries
from spikedet.data.split_names import in_usual_order, split_parts
from spikedet.data.values import shown, written_hw


def test_no_splits_and_no_entries() -> None:
    assert in_usual_order([]) == []
    assert unique_entries([]) == ()


def test_splits_have_their_usual_order() -> None:
    assert in_usual_order(["b", "test", "a", "trainval", "val", "train", "a"]) == [
        *("train", "val", "trainval", "test", "a", "b")
    ]


def test_parts_of_a_split() -> None:
    assert split_parts("train") == ["train"]
    assert split_parts("VOC2007/train + val") == ["VOC2007/train", "val"]


def test_the_first_entry_of_an_image_stays() -> None:
    first, again, other = (Entry(name, None, Path(text), list) for name, text in (("a", "1"), ("a", "2"), ("b", "3")))
    assert unique_entries([first, again, other]) == (first, other)


def test_a_broken_entry_says_why() -> None:
    with pytest.raises(DataError, match=r"a\.xml: gone"):
        broken_entry("a", None, Path("a.xml"), "a.xml: gone").read()


def test_the_name_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    assert folder_name(Path(".")) == folder_name(Path("deep/..")) == folder_name(tmp_path / "mine") == "mine"


def test_class_names_lose_their_surrounding_blanks() -> None:
    assert checked_class_names("x", [" cat", "Käfer klein"]) == ("cat", "Käfer klein")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no class names"),
        (["a", " "], "expected a class name, got ' '"),
        ([False], "expected a class name, got False; quote names"),
        ([{"a": 1}], "expected a class name, got a dict"),
        (["a\x00"], "expected a class name"),
        (["\ud800"], "expected a class name"),
        (["a", "b", "a "], "the class name 'a' is there twice"),
    ],
)
def test_names_that_are_none(names: list[object], message: str) -> None:
    with pytest.raises(DataError, match=f"^x: {message}"):
        checked_class_names("x", names)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (None, None, None),
        (30, 40, (30, 40)),
        (" 030\n", "40.0", (30, 40)),
        (0, 40, None),
        ("30", "", None),
        (30, 40.5, None),
        (-30, 40, None),
        (True, 40, None),
        ([30], {"width": 40}, None),
        (10**400, 40, None),
        (float("nan"), float("inf"), None),
    ],
)
def test_a_written_size_is_whole_or_unknown(height: object, width: object, expected: tuple[int, int] | None) -> None:
    assert written_hw(height, width) == expected


def test_splits_must_have_the_same_classes() -> None:
    check_same_names(Path("d"), "train", ("a", "b"), "val", ("a", "b"))
    with pytest.raises(DataError, match=r"^d: splits 'train' and 'val' .* \(only one has 'c'\)"):
        check_same_names(Path("d"), "train", ("a", "b"), "val", ("a", "b", "c"))
    with pytest.raises(DataError, match="their order differs"):
        check_same_names(Path("d"), "train", ("a", "b"), "val", ("b", "a"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (1.5, "1.5"),
        (True, "True"),
        ("a\nb", r"'a\nb'"),
        ("x" * 100, "'" + "x" * 76 + "..."),
        (10**400, "a huge number"),
        ([[1]], "a list"),
    ],
)
def test_values_in_errors_are_short(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("name", ["x" * 201, "a\x1b[2Jb", "a\u202eb", "", "x" * 5_000_000])
def test_bounds_on_a_class_name(name: str) -> None:
    with pytest.raises(DataError, match=r"expected a class name, got .* at most 200 printable characters") as error:
        checked_class_names("a.yaml", ["cat", name])
    assert len(str(error.value)) < 250 and str(error.value).isprintable()


def test_many_class_names_are_checked_in_linear_time() -> None:
    """A quadratic search takes minutes."""
    names = [f"a thing of the number {number}" for number in range(20_000)]
    started = time.process_time()
    assert checked_class_names("a.yaml", names) == tuple(names)
    assert time.process_time() - started < 2
    with pytest.raises(DataError, match=r"a\.yaml: 20001 class names; at most 20000 are supported"):
        checked_class_names("a.yaml", [*names, "one more"])

"""A file is the old one or the whole new one."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from spikedet.common.errors import SpikedetError
from spikedet.common.files import atomic_folder, atomic_path, write_json, write_text


def only(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(os.listdir(folder))


def test_the_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"  # until the block ends
        assert temporary.parent == tmp_path  # the same file system, so that the swap is one step
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert only(tmp_path) == ["a.txt"]


def test_the_old_file_is_replaced_and_not_overwritten(tmp_path: Path) -> None:
    """Whoever has the old one open goes on reading the old one."""
    path = write_text(tmp_path / "a.txt", "old")
    with open(path) as reader:
        write_text(path, "new")
        assert reader.read() == "old"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert path.read_text() == "old"
    assert only(tmp_path) == ["a.txt"]


def test_an_error_before_there_was_a_file_leaves_none(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt"):
        raise KeyError
    assert only(tmp_path) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")
    message = r"a\.txt: writing failed \(No space left on device\); nothing was changed"
    with pytest.raises(SpikedetError, match=message), atomic_path(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert only(tmp_path) == ["a.txt"]


def test_folders_are_made(tmp_path: Path) -> None:
    assert write_text(tmp_path / "x" / "y" / "a.txt", "text").read_text() == "text"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Root can write everywhere but under a file."""
    write_text(tmp_path / "file", "")
    with pytest.raises(SpikedetError, match=r"a\.txt: cannot write here \(.+\); choose another output folder"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_others_may_read_the_file(tmp_path: Path) -> None:
    """mkstemp makes it private, which a results file is not."""
    assert stat.S_IMODE(write_text(tmp_path / "a.txt", "").stat().st_mode) == 0o644


def test_text_is_utf8(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a.txt", "θ ≥ 0").read_bytes() == "θ ≥ 0".encode()


def test_json_keeps_order_and_refuses_nan(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": "x"})
    assert list(json.loads(path.read_text())) == ["b", "a"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["a"] == "x"
    assert only(tmp_path) == ["a.json"]


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "new") as folder:
        (folder / "a.txt").write_text("half")
        raise RuntimeError
    assert only(tmp_path) == []
    with atomic_folder(tmp_path / "new") as folder:
        (folder / "a.txt").write_text("whole")
        assert not (tmp_path / "new").exists()
    assert only(tmp_path) == ["new"] and only(tmp_path / "new") == ["a.txt"]


def test_an_empty_folder_is_taken_and_a_full_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "a.txt").write_text("text")
    with pytest.raises(SpikedetError, match="there is something already"), atomic_folder(tmp_path / "empty"):
        pass
    assert only(tmp_path / "empty") == ["a.txt"]

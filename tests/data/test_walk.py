"""One walker for all readers: links, hidden and system files, folders that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spikedet.common.errors import DataError
from spikedet.data.walk import visible, walk


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


def test_an_empty_folder(tmp_path: Path) -> None:
    tree = walk(tmp_path)
    assert (tree.folders, tree.skipped, tree.summary(), tree.skipped_text()) == ({"": []}, {}, "no files", "")


def test_files_by_folder_and_ending(tmp_path: Path) -> None:
    tree = walk(make(tmp_path, "b.JPG", "a.jpg", "deep/er/c.jpg", "deep/d.txt", "a b#.png"))
    assert tree.folders == {"": ["a b#.png", "a.jpg", "b.JPG"], "deep": ["d.txt"], "deep/er": ["c.jpg"]}
    assert list(tree.files([".jpg"])) == ["a.jpg", "b.JPG", "deep/er/c.jpg"]
    assert tree.summary() == "./ has 2 .jpg, 1 .png; deep/ has 1 .txt; deep/er/ has 1 .jpg"


def test_hidden_and_system_files_are_counted_by_kind(tmp_path: Path) -> None:
    hidden = ("._a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "sub/.x")
    system = ("@eaDir/a.jpg", "__MACOSX/a.jpg", "lost+found/x", "Thumbs.db")
    tree = walk(make(tmp_path, "a.jpg", "b.jxl", "c.heic", *hidden, *system))
    assert list(tree.files([".jpg"])) == ["a.jpg"]
    assert {kind: len(names) for kind, names in tree.skipped.items()} == {
        "hidden file or folder": 3,
        "file or folder of the system": 4,
    }
    assert "4 files or folders of the system (" in tree.skipped_text()
    assert tree.skipped_text().endswith(
        "1 image of a format that is not read (.heic), 1 image of a format that is not read (.jxl)"
    )
    assert "jxl" not in tree.skipped_text([".jxl"])
    assert sorted(path.name for path in visible(tmp_path)) == ["a.jpg", "b.jxl", "c.heic", "sub"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    make(tmp_path, "data/real/a.jpg", "outside/b.jpg")
    root = tmp_path / "data"
    (root / "a_link").symlink_to(root / "real")
    (root / "more").symlink_to(tmp_path / "outside")
    (root / "again").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "loop").symlink_to(root)
    (tmp_path / "outside" / "up").symlink_to("/")
    (root / "real" / "self").symlink_to(".")
    assert list(walk(root).files([".jpg"])) == ["again/b.jpg", "real/a.jpg"]


def test_links_that_multiply(tmp_path: Path) -> None:
    """Two links in each of 40 folders: without a guard there are 2**40 paths."""
    for level in range(40):
        folder = tmp_path / "levels" / str(level)
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / name).symlink_to(tmp_path / "levels" / str(level + 1))
    (tmp_path / "levels" / "40").mkdir()
    assert len(walk(tmp_path).folders) == 43


def test_a_folder_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "out/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert list(walk(tmp_path, without=(tmp_path / "out").resolve()).files([".jpg"])) == ["a.jpg"]


def test_links_that_lead_nowhere_are_files(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    assert list(walk(tmp_path).files([".jpg"])) == ["circle.jpg", "gone.jpg"]


def test_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"closed: the folder cannot be read \(Permission denied\); check its"):
        walk(tmp_path)
    with pytest.raises(DataError, match=r"closed: the folder cannot be read"):
        visible(tmp_path / "closed")

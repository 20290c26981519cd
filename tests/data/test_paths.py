"""Paths of other people's files stay within the dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikedet.common.errors import DataError
from spikedet.data.paths import contained


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "set" / "images").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_text("secret")
    return tmp_path / "set"


@pytest.mark.parametrize("written", ["a.jpg", "./a.jpg", "images/../a.jpg", "images/../../set/a.jpg"])
def test_within(root: Path, written: str) -> None:
    assert contained(root, written, "x.txt") == root / "a.jpg"


def test_absolute_and_from_another_folder(root: Path) -> None:
    assert contained(root, str(root / "images" / "a.jpg"), "x.txt") == root / "images" / "a.jpg"
    assert contained(root, "../a.jpg", "x.txt", root / "images") == root / "a.jpg"


@pytest.mark.parametrize("written", ["../secret.jpg", "/etc/passwd", "images/../../secret.jpg", "..", "../set2/a.jpg"])
def test_outside(root: Path, written: str) -> None:
    with pytest.raises(DataError, match=r"^x\.txt: '.*' leads out of .*set; expected a path within it"):
        contained(root, written, "x.txt")


def test_a_link_that_leads_outside(root: Path) -> None:
    (root / "images" / "a.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "up").symlink_to(root.parent)
    for written in ("images/a.jpg", "up/secret.jpg"):
        with pytest.raises(DataError, match="leads out of"):
            contained(root, written, "x.txt")


def test_a_link_within(root: Path) -> None:
    (root / "b.jpg").write_text("x")
    (root / "a.jpg").symlink_to("b.jpg")
    assert contained(root, "a.jpg", "x.txt") == root / "a.jpg"


def test_a_folder_named_through_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    assert contained(root, str(root.parent / "link" / "a.jpg"), "x.txt") == root / "a.jpg"


@pytest.mark.parametrize("written", ["a\0b", "\ud800"])
def test_no_path_at_all(root: Path, written: str) -> None:
    with pytest.raises(DataError, match=r"^x\.txt: .* is not a path"):
        contained(root, written, "x.txt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.sampled_from("./ab\0\\~\ud800"), max_size=12) | st.text(max_size=300))
def test_any_text_is_within_or_refused(root: Path, written: str) -> None:
    try:
        path = contained(root, written, "x.txt")
    except DataError:
        return
    assert path.resolve().is_relative_to(root)

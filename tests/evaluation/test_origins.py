"""Names relative to results, and what they lead to after a move."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikedet.common.digests import file_sha256
from spikedet.evaluation.origins import find_checkpoint, places, relative_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a run, its checkpoint beside them."""
    (tmp_path / "runs" / "mine" / "results").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "joint.safetensors").write_bytes(b"weights")
    return tmp_path / "runs" / "mine" / "results"


def test_names_are_relative_to_the_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert relative_name(folder.parent / "joint.safetensors", folder) == "../joint.safetensors"
    monkeypatch.chdir(folder.parent)
    assert relative_name(Path("joint.safetensors"), Path("results")) == "../joint.safetensors"


def test_places_by_the_results_by_the_current_folder_above_and_by_the_last_part(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = (folder.parent / "joint.safetensors").resolve()
    assert list(places("../joint.safetensors", folder)) == [checkpoint]
    assert list(places("runs/mine/joint.safetensors", folder)) == [checkpoint]  # from a folder above
    assert list(places("/elsewhere/joint.safetensors", folder)) == [checkpoint]
    assert list(places("nothing", folder)) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "joint.safetensors").write_bytes(b"others")
    monkeypatch.chdir(other)
    assert list(places("joint.safetensors", folder)) == [(other / "joint.safetensors").resolve(), checkpoint]


def test_a_checkpoint_is_known_by_its_contents(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = (folder.parent / "joint.safetensors").resolve()
    digest = file_sha256(checkpoint)
    other = tmp_path / "other"
    other.mkdir()
    (other / "joint.safetensors").write_bytes(b"others")
    monkeypatch.chdir(other)
    assert find_checkpoint(["joint.safetensors"], digest, folder) == checkpoint  # not the one of the same name here
    renamed = checkpoint.rename(folder.parent / "renamed.safetensors")
    assert find_checkpoint(["../joint.safetensors"], digest, folder) == renamed
    assert find_checkpoint(["../joint.safetensors"], "0" * 64, folder) is None
    (folder.parent / "a.safetensors").mkdir()
    assert find_checkpoint([], digest, folder) == renamed
    assert find_checkpoint([str(renamed)], file_sha256(other / "joint.safetensors"), folder) is None
    beside = renamed.parent / "ann.safetensors"
    beside.write_bytes(b"ann")
    assert find_checkpoint([str(renamed)], file_sha256(beside), other) == beside

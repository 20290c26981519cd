"""The networks a checkpoint came from, and those that it represents."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_detector import chain, write_ann

from spikedet.checkpoint.ancestry import lineage, with_parents
from spikedet.commands.convert import convert
from spikedet.config import ConvertConfig


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["ann"], ["ann"]),
        (["qc"], ["ann", "qc"]),
        (["fine"], ["ann", "qc", "copied", "fine"]),
        (["fine", "coarse"], ["ann", "qc", "copied", "fine", "coarse"]),
        (["fine", "ann", "fine"], ["ann", "qc", "copied", "fine"]),
    ],
)
def test_parents_come_first_and_once(given: list[str], expected: list[str]) -> None:
    assert with_parents([chain()[stage] for stage in given]) == [chain()[stage] for stage in expected]


def test_a_copy_of_a_file_is_the_same_network(tmp_path: Path) -> None:
    copy = Path(shutil.copy(chain()["ann"], tmp_path / "copy.safetensors"))
    assert with_parents([copy, chain()["qc"]]) == [copy, chain()["qc"]]


def test_parents_that_are_gone_or_changed_are_left_out(tmp_path: Path) -> None:
    source = write_ann(tmp_path / "ann.safetensors")
    (copied,) = convert(ConvertConfig(checkpoint=str(source), T=2))
    assert with_parents([copied]) == [source, copied]
    write_ann(source, seed=1)
    assert with_parents([copied]) == [copied]
    source.unlink()
    assert with_parents([copied]) == [copied]


@pytest.mark.parametrize(
    ("digest", "expected"), [("a", "a"), ("c", "abc"), ("x", "x"), ("l", "lm"), ("z", "zy"), ("d", "dabc")]
)
def test_lineage(digest: str, expected: str) -> None:
    """a -> b -> c -> d; l and m name each other; z's parent is none of the networks evaluated."""
    parents = {"a": None, "b": "a", "c": "b", "d": "c", "l": "m", "m": "l", "z": "y"}
    assert lineage(digest, parents) == set(expected)

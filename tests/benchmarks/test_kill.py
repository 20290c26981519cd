"""The short form of benchmarks/kill.py: every verb killed once, and what comes out is the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from kill import COMMANDS, attempt, killed, prepare, result, same

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("kill")
    prepare(made)
    return made


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_killed_run_goes_on_and_ends_the_same(folder: Path, verb: str) -> None:
    outcome = killed(folder, verb, 1, random.Random(verb), warm_up=False)
    assert (outcome.kills, outcome.identical) == (1, outcome.runs)


def test_a_command_that_fails_is_an_error(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="exit status 1"):
        attempt(folder, "evaluate none.safetensors")


def test_results_that_differ_are_told_apart(folder: Path) -> None:
    found = result(folder / "base")
    other = {**found, "ann.safetensors": {}}
    assert same(found, result(folder / "base")) and not same(found, other)

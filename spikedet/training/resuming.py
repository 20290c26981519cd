"""Where a training that is gone on with stands: its state, its log, and whether they are of this very training."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from spikedet.checkpoint.state import load_state
from spikedet.common.errors import CheckpointError
from spikedet.common.files import write_text
from spikedet.config import LoopConfig


def forget_epochs(log: Path, done: int) -> None:
    """Drop the lines of a log that come after ``done`` epochs: their state was not saved."""
    if log.exists():
        head, *lines = [*log.read_text(encoding="utf-8", errors="replace").splitlines(), ""]
        numbered = [(line, line.partition(",")[0]) for line in lines]
        kept = [line for line, number in numbered if number.isdecimal() and int(number) <= done]
        if kept:
            write_text(log, "\n".join([head, *kept]) + "\n")
        else:
            log.unlink()


def state_path(config: LoopConfig, name: str) -> Path:
    """What a stage resumes from."""
    return Path(config.out) / f"{name}-state.safetensors"


def log_path(config: LoopConfig, name: str) -> Path:
    """A stage's losses and measures, one line per epoch."""
    return Path(config.out) / f"{name}-log.csv"


def finished(config: LoopConfig, name: str, made_for: dict[str, Any]) -> bool:
    """True if a resumed run has nothing left to do. Raises CheckpointError as ``load_progress``."""
    state = state_path(config, name)
    if not config.resume or not state.exists():
        return False
    facts = load_progress(state, made_for)[2]
    return facts["epoch"] + 1 >= config.epochs or 0 < config.patience == facts.get("stopped_at_patience")


def interrupted_after(config: LoopConfig, name: str) -> int:
    """Epochs of an unfinished training in the output folder that is not gone on with; 0 if there is none."""
    state = state_path(config, name)
    if config.resume or not state.exists():
        return 0
    with suppress(CheckpointError):
        done = int(load_progress(state, {})[2]["epoch"]) + 1
        return done if done < config.epochs else 0
    return 0


def load_progress(
    path: Path, made_for: dict[str, Any]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any], dict[str, Any]]:
    """``load_state`` with the facts of this loop.

    Raises:
        CheckpointError: they are not whole, or of a training that was made for something else.
    """
    modules, optimizer, facts = load_state(path)
    if not _whole(facts):
        raise CheckpointError(
            f"{path}: no training state to resume from (its facts are damaged); train without --resume"
        )
    before = facts.get("made_for", {})  # states of earlier versions do not say
    for name, value in made_for.items():
        if before.get(name, value) != value:
            raise CheckpointError(
                f"{path}: the state of another training ({name}: {before[name]!r} then, {value!r} now); train without "
                "--resume, or with another --out"
            )
    return modules, optimizer, facts


def _whole(facts: Any) -> bool:
    """Whether the facts of a state are of the form in which the loop saved them."""
    try:
        first, second = facts["stopper"]
        numbers = [first, second, facts["updates"], *facts.get("held_out", {}).values()]
        numbers += [value for value in (facts["best_fitness"], facts.get("lowest_loss")) if value is not None]
        counted = type(facts["epoch"]) is int and facts["epoch"] >= 0 and facts["updates"] >= 0
        named = isinstance(facts.get("made_for", {}), dict)
    except (TypeError, KeyError, ValueError, AttributeError):
        return False
    return counted and named and all(isinstance(number, (int, float)) for number in numbers)

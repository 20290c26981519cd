"""Where a training that is gone on with stands: its state, its log, and whether they are of this very training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from torch import Tensor

from spikedet.checkpoint.state import load_state
from spikedet.common.errors import CheckpointError
from spikedet.common.files import write_text
from spikedet.common.typed import typed
from spikedet.config import LoopConfig


@dataclass(frozen=True)
class Facts:
    """What the state of a training says beside its tensors; states of earlier versions have not all of it.

    Attributes:
        epoch: the last one that is finished, from 0.
        best_fitness: of the network that is kept; None while there is none.
        updates: of the averaged network.
        stopper: best fitness and its epoch.
        stopped_at_patience: the patience at which training has stopped early, or 0.
        made_for: see ``TrainingLoop``.
        held_out: the last measures.
        lowest_loss: of an epoch.
    """

    epoch: Annotated[int, Meta(ge=0)]
    best_fitness: float | None
    updates: Annotated[int, Meta(ge=0)]
    stopper: tuple[float, int]
    stopped_at_patience: int = 0
    made_for: dict[str, Any] = field(default_factory=dict)
    held_out: dict[str, float] = field(default_factory=dict)
    lowest_loss: float | None = None


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
    return facts.epoch + 1 >= config.epochs or 0 < config.patience == facts.stopped_at_patience


def interrupted_after(config: LoopConfig, name: str) -> int:
    """Epochs of an unfinished training in the output folder that is not gone on with; 0 if there is none."""
    state = state_path(config, name)
    if config.resume or not state.exists():
        return 0
    with suppress(CheckpointError):
        done = load_progress(state, {})[2].epoch + 1
        return done if done < config.epochs else 0
    return 0


def load_progress(path: Path, made_for: dict[str, Any]) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any], Facts]:
    """``load_state`` with the facts of this loop.

    Raises:
        CheckpointError: they are not whole, or of a training that was made for something else.
    """
    modules, optimizer, found = load_state(path)
    facts = typed(Facts, found, f"{path}: no training state to resume from, train without --resume", CheckpointError)
    for name, value in made_for.items():
        if facts.made_for.get(name, value) != value:
            raise CheckpointError(
                f"{path}: the state of another training ({name}: {facts.made_for[name]!r} then, {value!r} now); "
                "train without --resume, or with another --out"
            )
    return modules, optimizer, facts

"""Progress bars for a person at a terminal; silent in logs and pipes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from spikedet.common.distributed import is_first

Item = TypeVar("Item")


def make_progress() -> Progress:
    """A bar with counts and remaining time, gone when it is done; disabled where nobody watches."""
    return _progress(MofNCompleteColumn())


def make_byte_progress() -> Progress:
    """The same for bytes."""
    return _progress(DownloadColumn())


def _progress(amount: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    shown = console.is_terminal and is_first()
    return Progress(*columns, console=console, transient=True, disable=not shown)


def track(items: Iterable[Item], label: str) -> Iterable[Item]:
    """The items, with a bar while they are worked through."""
    listed = list(items)
    with make_progress() as progress:
        yield from progress.track(listed, description=label)

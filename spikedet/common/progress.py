"""Progress bars for a person at a terminal; silent in logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spikedet.common.distributed import is_first

Item = TypeVar("Item")
DELAY_S = 2.0
"""What is done sooner has no bar."""


def make_progress(*, of_bytes: bool = False) -> Progress:
    """A bar with counts and remaining time, gone when it is done; disabled where nobody watches."""
    console = Console(stderr=True)
    amount = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    shown = console.is_terminal and is_first()
    return Progress(*columns, console=console, transient=True, disable=not shown)


def track(items: Iterable[Item], label: str) -> Iterable[Item]:
    """The items, with a bar while they are worked through, if that takes longer than ``DELAY_S``."""
    listed = list(items)
    begun = time.monotonic()
    with ExitStack() as stack:
        progress = task = None
        for done, item in enumerate(listed):
            yield item
            if progress is not None and task is not None:
                progress.advance(task)
            elif time.monotonic() - begun > DELAY_S:
                progress = stack.enter_context(make_progress())
                task = progress.add_task(label, total=len(listed), completed=done + 1)

"""Signals that end a command as Ctrl-C does: a recording is kept, temporary files go."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ended(KeyboardInterrupt):
    """A signal asked this process to end; ``status`` is what a shell expects of it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise ``Ended`` in the block where such a signal comes. One that is ignored, as by nohup, stays so."""
    process, before = os.getpid(), dict[int, Any]()

    def end(number: int, _: object) -> None:
        if os.getpid() == process:
            for each in before:
                signal.signal(each, signal.SIG_IGN)  # systemd sends both, and cleaning up is not to be interrupted
            raise Ended(number)
        signal.signal(number, signal.SIG_DFL)  # a process that was forked ends at once
        os.kill(os.getpid(), number)

    if threading.current_thread() is threading.main_thread():  # others may not set them
        before = {number: signal.getsignal(number) for number in ENDING}
        before = {number: handler for number, handler in before.items() if handler == signal.SIG_DFL}
    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

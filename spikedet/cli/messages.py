"""The package logs what it does; the command line alone prints it, and no text that it prints steers a terminal."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress

_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tabs and line feeds, changes of the direction of writing, and bytes that are no UTF-8."""


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(printable(record.getMessage()), flush=True, file=stream)


def print_messages() -> None:
    """Print what the package logs from now on: on standard output, warnings on standard error."""
    logger = logging.getLogger("spikedet")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Printer) for handler in logger.handlers):
        logger.addHandler(_Printer())


def print_error(text: str) -> None:
    """Print what ended a command, as one line on standard error. Nothing happens where nobody can read it."""
    with suppress(OSError, ValueError):
        print(printable(text).replace("\n", r"\n"), flush=True, file=sys.stderr)


def printable(text: str) -> str:
    """Text, of which parts may come from a file, with escapes for the characters that steer a terminal."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean --epochs?"`` for a word that is almost one of the known ones, or ""."""

    def plain(name: str) -> str:
        return name.strip("-").casefold().replace("_", "-")

    names = {plain(name): name for name in known}
    close = difflib.get_close_matches(plain(word), names, n=1, cutoff=0.65)
    return f"; did you mean {names[close[0]]}?" if close else ""


def prepare_streams() -> None:
    """Let standard output and error take any text, and open them where they are closed.

    A character that their encoding lacks is replaced. A file that was opened in the place of a closed one would get
    what libraries print.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free one: that of the closed stream
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")

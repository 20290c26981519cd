"""The package logs what it does; the command line alone prints it."""

from __future__ import annotations

import logging
import sys


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True, file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def print_messages() -> None:
    """Print what the package logs from now on: on standard output, warnings on standard error."""
    logger = logging.getLogger("spikedet")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Printer) for handler in logger.handlers):
        logger.addHandler(_Printer())

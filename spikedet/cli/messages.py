"""The package logs what it does; the command line alone prints it."""

from __future__ import annotations

import logging


class _Printer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True)


def print_messages() -> None:
    """Print what the package logs from now on, on standard output."""
    logger = logging.getLogger("spikedet")
    logger.setLevel(logging.INFO)
    if not any(isinstance(handler, _Printer) for handler in logger.handlers):
        logger.addHandler(_Printer())

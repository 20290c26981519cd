"""Folders that take long to make, made by one of the processes that share the tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spikedet.common.files import locked


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process to ask for it fills; the others wait, and change nothing in it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with locked(folder.with_suffix(".lock"), folder, wait=True):
        if not (done := folder / "done").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder

"""What tests know of the compilers that the fixture ``compiler`` makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Compiler = Callable[[str], Path]


def calls(tmp_path: Path) -> list[str]:
    """The arguments of every call of the compiler."""
    return (tmp_path / "calls").read_text().splitlines()

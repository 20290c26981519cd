#!/usr/bin/env python3
"""The project in numbers: rooms, floors and arrows of the package, lines, words of README, flags by command.

    python benchmarks/house.py [CHECKOUT] [--flags]

A room is a package or a module directly under ``spikedet/``, an arrow an import from one room to another. Rooms that
import each other, directly or through others, share a floor; a room stands above all the rooms that it imports.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def room(path: Path, package: Path) -> str:
    """The room that a file belongs to."""
    parts = path.relative_to(package).parts
    return parts[0] if len(parts) > 1 else path.stem


def imported(path: Path) -> Iterator[str]:
    """Rooms that a file imports by full name, those in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spikedet."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "spikedet":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("spikedet."))


def arrows(package: Path) -> dict[str, set[str]]:
    """The rooms that every room imports."""
    files = sorted(package.rglob("*.py"))
    rooms = {room(path, package): set[str]() for path in files}
    for path in files:
        here = room(path, package)
        rooms[here] |= {name for name in imported(path) if name in rooms and name != here}
    return rooms


def floors(rooms: dict[str, set[str]]) -> int:
    """Number of floors."""
    reached = {name: _reached(name, rooms) for name in rooms}
    alike = {name: frozenset(n for n in reached[name] | {name} if n == name or name in reached[n]) for name in rooms}
    levels: dict[frozenset[str], int] = {}

    def level(group: frozenset[str]) -> int:
        if group not in levels:
            below = {alike[other] for name in group for other in rooms[name]} - {group}
            levels[group] = 1 + max(map(level, below), default=0)
        return levels[group]

    return max(map(level, alike.values()))


def _reached(name: str, rooms: dict[str, set[str]]) -> set[str]:
    found, todo = set[str](), [name]
    while todo:
        new = rooms[todo.pop()] - found
        found |= new
        todo += new
    return found


def lines(folder: Path) -> int:
    """Lines of Python under a folder."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


def code_lines(folder: Path) -> int:
    """The same without blank lines, comments and docstrings."""
    return sum(_code_lines(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py"))


def _code_lines(source: str) -> int:
    words = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            words |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    written = enumerate(map(str.strip, source.splitlines()), 1)
    return sum(bool(line) and not line.startswith("#") and number not in words for number, line in written)


def flags() -> dict[str, int]:
    """Settings of every command of this checkout that a command line takes."""
    from spikedet import config
    from spikedet.commands import COMMANDS

    found = {}
    for name, verb in COMMANDS.items():
        kind = getattr(config, verb.config)
        found[name] = len({item.name for item in dataclasses.fields(kind)} - set(kind.file_only.split()))
    return found


def main() -> None:
    """One line for each number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--flags", action="store_true", help="also the settings of every command of this checkout")
    arguments = parser.parse_args()
    root = arguments.checkout
    rooms = arrows(root / "spikedet")
    words = len((root / "README.md").read_text(encoding="utf-8").split())
    numbers = {
        "rooms": len(rooms),
        "floors": floors(rooms),
        "arrows": sum(map(len, rooms.values())),
        "words of README": words,
        "lines of spikedet": lines(root / "spikedet"),
        "of them code (not blank, comment or docstring)": code_lines(root / "spikedet"),
        "lines of tests": lines(root / "tests"),
        "lines of benchmarks, tools and demo": sum(lines(root / name) for name in ("benchmarks", "tools", "demo")),
    }
    counted = flags() if arguments.flags else {}
    numbers |= {f"flags of {name}": count for name, count in counted.items()}
    numbers |= {"flags": sum(counted.values())} if counted else {}
    for name, number in numbers.items():
        print(f"| {name} | {number} |")


if __name__ == "__main__":
    main()

"""The arrows between packages: each imports only from its own layer or the ones before it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "spikedet"

# The floors, from the ground up. The rooms of one floor may import each other; a new room needs a place here.
FLOORS = """
common kernels
config
detections checkpoint
quantization snn
data
models conversion
evaluation costs diagnosis exports
visualization video inference
training calibration
commands demo cli __init__ __main__
"""
LAYERS = [set(floor.split()) for floor in FLOORS.split("\n") if floor]
LAYER = {name: index for index, names in enumerate(LAYERS) for name in names}

# Ultralytics changes often; these alone may know it.
ULTRALYTICS = ("models/", "conversion/rules.py", "conversion/block_rules.py", "training/", "data/transforms.py")

FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    """Line and full name of every import of a file, those within functions and under TYPE_CHECKING too."""
    found: list[tuple[int, str]] = []
    home = ["spikedet", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            # `from spikedet import x` imports the module spikedet.x, where there is one.
            deep = [f"{module}.{alias.name}" for alias in node.names] if module == "spikedet" else [module]
            found += ((node.lineno, name) for name in deep)
    return found


def part(path: Path) -> str:
    """The package or top-level module a file belongs to."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def shown(path: Path, line: int, name: str) -> str:
    return f"{path.relative_to(ROOT)}:{line} imports {name}"


def test_every_part_has_its_layer() -> None:
    assert sorted({part(path) for path in FILES} - LAYER.keys()) == [], "give it a place in LAYERS"


@pytest.mark.parametrize("name", sorted({part(path) for path in FILES}))
def test_imports_point_down(name: str) -> None:
    wrong = []
    for path in FILES:
        for line, imported in imports(path) if part(path) == name else ():
            root, _, rest = imported.partition(".")
            target = rest.partition(".")[0]
            if root == "spikedet" and LAYER.get(target, -1) > LAYER[name]:
                wrong.append(shown(path, line, imported))
    assert wrong == []


def test_nothing_imports_tools_demo_or_tests() -> None:
    outside = {"tools", "demo", "tests", "benchmarks"}
    assert [shown(p, *found) for p in FILES for found in imports(p) if found[1].partition(".")[0] in outside] == []


def test_ultralytics_is_known_in_a_few_places_only() -> None:
    strangers = [
        shown(path, *found)
        for path in FILES
        for found in imports(path)
        if found[1].partition(".")[0] == "ultralytics"
        and not path.relative_to(PACKAGE).as_posix().startswith(ULTRALYTICS)
    ]
    assert strangers == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import a.b, c", ["a.b", "c"]),
        ("from a.b import c", ["a.b"]),
        ("from spikedet import snn, errors", ["spikedet.snn", "spikedet.errors"]),
        ("from . import layers", ["spikedet.snn"]),
        ("from .layers import x", ["spikedet.snn.layers"]),
        ("from ..files import x", ["spikedet.files"]),
        ("from .. import training", ["spikedet.training"]),
        ("def f():\n    if True:\n        import a", ["a"]),
    ],
)
def test_imports_are_found(text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_imports.PACKAGE", tmp_path)
    (tmp_path / "snn").mkdir()
    path = tmp_path / "snn" / "x.py"
    path.write_text(text)
    assert [name for _, name in imports(path)] == expected

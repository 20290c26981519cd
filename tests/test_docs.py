"""The hooks of the documentation build: tables of commands, links out of docs/, the check for remote resources."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import spikedet
from spikedet import config
from spikedet.commands import COMMANDS

pytest.importorskip("mkdocs")
import griffe
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "site" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(path: str) -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(src_path=path))


def test_the_page_of_commands_has_every_command_with_a_meaning_for_every_setting(hooks: ModuleType) -> None:
    text = hooks.on_page_markdown("<!-- commands -->", page=page("reference/commands.md"))
    for name in COMMANDS:
        assert f"## spikedet {name}\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_row_of_a_table_of_settings_is_one_line_that_begins_with_a_flag(hooks: ModuleType, name: str) -> None:
    _, _, table = hooks.command(name).partition("| --- | --- | --- |\n")
    rows = table.splitlines()
    assert len(rows) == len(fields(getattr(config, COMMANDS[name].config)))
    for row in rows:
        assert re.fullmatch(r"\| `(--[a-zA-Z]|[A-Z]|\w+` \(file\))[^|]* \| [^|]+ \| [^|]+ \|", row), row


@pytest.mark.parametrize("name", spikedet.__all__)
def test_example_code_of_a_docstring_is_shown_as_code(name: str) -> None:
    sections = griffe.Docstring(inspect.getdoc(getattr(spikedet, name)) or "").parse("google")
    quoted = [s for s in sections if s.kind is not griffe.DocstringSectionKind.examples and ">>>" in str(s.as_dict())]
    assert quoted == [], "the section for code is 'Examples:'"


def test_a_setting_has_its_flags_and_default(hooks: ModuleType) -> None:
    rows = hooks.command("train").splitlines()
    assert any(row.startswith("| `--model`, `--from` | `tiny-yolo-csp` |") for row in rows)
    assert any(row.startswith("| `--resume` | `false` |") for row in rows)
    assert any(row.startswith("| `CHECKPOINT` | required |") for row in hooks.command("finetune").splitlines())


def test_a_link_out_of_docs_becomes_a_path_and_another_stays(hooks: ModuleType) -> None:
    text = "[tiny-yolo.yaml](../configs/models/tiny-yolo.yaml) [a log](../CHANGELOG.md) [table](zoo.md#maxima)"
    shown = hooks.on_page_markdown(text, page=page("layers.md"))
    assert shown == "`configs/models/tiny-yolo.yaml` a log (`CHANGELOG.md`) [table](zoo.md#maxima)"


def test_the_notebook_is_a_page(hooks: ModuleType) -> None:
    text = hooks.on_page_markdown("# Title\n\n<!-- notebook -->", page=page("notebook.md"))
    assert text.count("# Title") == 1 and "# From data to boxes" not in text
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text("utf-8"))["cells"]
    assert text.count("```python\n") == sum(cell["cell_type"] == "code" for cell in cells)
    assert "## Detect\n" in text and "SpikingDetector.load(weights)" in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script async src="https://cdn.example/x.js"></script>'),
        ("a.html", "<link rel=stylesheet href=//fonts.example/css>"),
        ("a.html", '<img alt="" src="http://images.example/x.png">'),
        ("a.css", "body { background: url(https://images.example/x.png) }"),
    ],
)
def test_a_resource_on_another_machine_is_refused(hooks: ModuleType, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(PluginError, match="must work offline"):
        hooks.on_post_build(config=SimpleNamespace(site_dir=str(tmp_path)))


def test_links_to_other_sites_and_local_resources_are_fine(hooks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://example.org">x</a><img src="images/x.png">', encoding="utf-8")
    hooks.on_post_build(config=SimpleNamespace(site_dir=str(tmp_path)))

"""Build hooks of the documentation: generated sections, links that leave docs/, and a check for remote resources.

A page marks where a section goes: ``<!-- commands -->``, ``<!-- python -->``, ``<!-- notebook -->`` or
``<!-- changelog -->``.
"""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

import spikedet
from spikedet import config as configurations
from spikedet.cli.arguments import ALIASES, documentation
from spikedet.commands import COMMANDS

DOCS = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:\s]+)\)")
REMOTE = {
    ".html": re.compile(
        r"<(?:script|link|img|iframe|source|video)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\s\"'>]+)"
    ),
    ".css": re.compile(r"url\([\"']?((?:https?:)?//[^)\"']+)|@import\s+[\"']((?:https?:)?//[^\"']+)"),
}
"""What a page or a style sheet would load from another machine, by suffix."""


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Fill the marks. A link to a file outside docs/ becomes its path, because the site does not contain the file."""
    markdown = markdown.replace("<!-- commands -->", "\n\n".join(map(command, COMMANDS)))
    names = [name for name in spikedet.__all__ if not name.endswith("Config")]  # their settings: the commands' page
    markdown = markdown.replace("<!-- python -->", "\n\n".join(f"::: spikedet.{n}" for n in names))
    markdown = markdown.replace("<!-- notebook -->", notebook(DOCS / "notebook.ipynb"))
    changelog = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n")[2]
    folder = (DOCS / page.file.src_path).parent

    def local(match: re.Match[str]) -> str:
        text, path = match[1], (folder / match[2]).resolve()
        if path.is_relative_to(DOCS):
            return match[0]
        name = path.relative_to(DOCS.parent).as_posix()
        return f"`{name}`" if text.endswith(path.name) else f"{text} (`{name}`)"

    return LINK.sub(local, markdown).replace("<!-- changelog -->", changelog)


def notebook(path: Path) -> str:
    """The cells of a notebook after its title."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text("utf-8"))["cells"]]
    shown = "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells)
    return shown.partition("\n")[2].lstrip()


def command(name: str) -> str:
    """The section of one command: its summary and a table of its settings."""
    verb = COMMANDS[name]
    summary, helps = documentation(getattr(configurations, verb.config))
    shared = "\n\nIt can run in several processes under torchrun." if verb.shared else ""
    head = f"## spikedet {name}\n\n{summary}{shared}\n\n| setting | default | meaning |\n| --- | --- | --- |"
    config = getattr(configurations, verb.config)
    rows = [
        f"| {setting(config, item.name, verb.positional)} | {default(item)} | {cell(helps.get(item.name, ''))} |"
        for item in fields(config)
    ]
    return "\n".join([head, *rows])


def cell(text: str) -> str:
    """One line without column separators: a table's row ends with its line."""
    return " ".join(text.replace("|", "&#124;").split())


def setting(config: Any, name: str, positional: str | None) -> str:
    """Its flags, or its name where it is a key of a file alone."""
    if name in config.file_only.split():
        return f"`{name}` (file)"
    if name == positional:
        return f"`{name.upper()}`"
    return ", ".join(f"`{flag}`" for flag in (f"--{name.replace('_', '-')}", *ALIASES.get(name, ())))


def default(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "required"
    value = str(item.default).lower() if isinstance(item.default, bool) else item.default
    return "empty" if value in ("", None) else f"`{value}`"


def on_post_build(*, config: Any, **_: Any) -> None:
    """Fail if a page or a style sheet loads anything from another machine."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in REMOTE and (found := REMOTE[path.suffix].search(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path.name}: loads {found[0]!r} from another machine; the site must work offline")

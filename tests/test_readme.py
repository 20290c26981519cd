"""Every command that the documentation shows exists and takes those flags; its tables are those of docs/results."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import readme_tables

from spikedet import config
from spikedet.cli.arguments import make_parser
from spikedet.cli.main import main
from spikedet.commands import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
TEXTS = [
    "README.md",
    *(
        page.relative_to(ROOT).as_posix()
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if "results" not in page.relative_to(ROOT).parts
    ),
]
TOOLS = {
    "train_detector.py": "train",
    "finetune_detector.py": "finetune",
    "convert_detector.py": "convert",
    "calibrate_detector.py": "calibrate",
    "evaluate_voc.py": "evaluate",
    "detect.py": "detect",
}


def commands() -> list[str]:
    """Commands in code blocks and in inline code; a backslash continues a line."""
    found = []
    for name in TEXTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            found += [" ".join(line.split("  #")[0].split()) for line in block.replace("\\\n", " ").splitlines()]
        found += re.findall(r"`((?:spikedet|tools/|make|python benchmarks/)[^`\n]*)`", text)
    return sorted({c for c in found if c and not c.startswith("#")})


@pytest.mark.parametrize("name", TEXTS)
def test_code_fits_into_its_block(name: str) -> None:
    blocks = re.findall(r"```\w+\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    columns = 110 if name == "README.md" else 80  # GitHub's and the site's, on a window of 1300 pixels
    assert [line for block in blocks for line in block.splitlines() if len(line) > columns] == []


def test_the_readme_shows_every_verb_of_the_pipeline() -> None:
    shown = {words[1] for c in commands() if (words := c.split())[0] == "spikedet" and len(words) > 1}
    assert {"train", "finetune", "convert", "calibrate", "evaluate", "detect"} <= shown


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith(("spikedet ", "tools/"))])
def test_a_command_exists_and_takes_its_flags(command: str) -> None:
    words = shlex.split(command)
    if words[1] in ("--help", "--version"):
        assert main(words[1:]) == 0
        return
    if words[0] == "spikedet":
        verb = " ".join(words[1:3]) if " ".join(words[1:3]) in COMMANDS else words[1]
        assert verb in COMMANDS, command
    else:
        assert (ROOT / words[0]).is_file(), command
        verb = TOOLS[Path(words[0]).name]
    parser = make_parser(getattr(config, COMMANDS[verb].config), verb, COMMANDS[verb].positional)
    arguments = words[1 + len(verb.split()) :] if words[0] == "spikedet" else words[1:]
    if {"--config", "--help", "--help-all"} & {*arguments}:
        return
    parser.parse_args(arguments)


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_a_make_target_exists(command: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert command.split()[-1] in targets


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("python ")])
def test_a_benchmark_exists_and_knows_its_flags(command: str) -> None:
    script, *arguments = shlex.split(command)[1:]
    source = (ROOT / script).read_text(encoding="utf-8")
    for flag in (a for a in arguments if a.startswith("--")):
        assert f'"{flag}"' in source, f"{command}: {flag}"
    for path in (a for a in arguments if a.endswith(".yaml")):
        assert (ROOT / path).is_file(), path


def test_contributing_names_every_benchmark() -> None:
    text = (ROOT / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    scripts = [path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    assert len(scripts) > 20 and [path.name for path in scripts if f"`{path.name}`" not in text] == []


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if not link.startswith("http"):
            assert ((ROOT / name).parent / link).exists(), f"{name}: {link}"


def test_the_tables_are_those_of_the_results() -> None:
    for page in readme_tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert readme_tables.filled(text) == text, "run python benchmarks/readme_tables.py"

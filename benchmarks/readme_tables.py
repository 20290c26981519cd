#!/usr/bin/env python3
"""The tables of README and docs, made from docs/results/*.json; a test checks that they are current.

python benchmarks/readme_tables.py [--check]
python benchmarks/readme_tables.py --publish quickstart runs/quickstart/results/results.json
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tables

from spikedet.common.files import write_json, write_text
from spikedet.evaluation import markdown_table, read_results

ROOT = Path(__file__).resolve().parent.parent
_NAMES = "simulator pipeline table_x scratch energy scaling zoo quickstart choose export roads"
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in _NAMES.split()))
PLAIN = {
    "kill": tables.kill_table,
    "fuzz": tables.fuzz_table,
    "scaling": tables.scaling_table,
    "early_exit": tables.exit_table,
    "clif": tables.learning_table,
}
"""By name: what publishes rows of its own kind."""
FORMS: dict[str, Callable[..., str]] = {
    "": tables.table,
    "narrow": partial(tables.table, head=tables.NARROW_HEAD),
    "pivot": tables.pivot,
    "short": tables.short,
    "seeds": tables.seeds_table,
    "models": tables.models_table,
    "pools": tables.pools_table,
}
"""By what a mark says after the name: tables of result rows."""
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def published_table(name: str) -> str:
    """The table of a mark ``NAME`` or ``NAME-FORM``; empty without results."""
    name, _, form = name.partition("-")
    path = ROOT / "docs" / "results" / f"{name}.json"
    if not path.exists():
        return ""
    if name.startswith("energy_"):
        text = path.with_suffix(".md").read_text(encoding="utf-8")
        return tables.first_table(text.partition("## Sparsity")[2] if form == "sparsity" else text)
    if form == "memory":
        return tables.memory_table(json.loads(path.read_text(encoding="utf-8"))["memory"])
    if name in PLAIN:
        return PLAIN[name](json.loads(path.read_text(encoding="utf-8"))["rows"])
    if name == "export":
        made = tables.export_speed_table if form == "speed" else tables.export_table
        return made(json.loads(path.read_text(encoding="utf-8")))
    if form == "roads":
        return roads_table(path)
    if name == "simulator":
        return tables.speed_table(json.loads(path.read_text(encoding="utf-8")), whole=form == "whole")
    return FORMS[form](read_results(path)[1])


def roads_table(path: Path) -> str:
    """Networks over seeds with what they cost: published results, and the published energy of the same networks."""
    energy = json.loads((path.parent / f"energy_{path.name}").read_text(encoding="utf-8"))
    meta, rows = read_results(path)
    joules = tables.joules_by_checkpoint(energy["reports"][0])
    return tables.seeds_table(rows, joules, meta["training_seconds"])


def publish(name: str, results: Path, **meta: Any) -> Path:
    """Copy a ``results.json`` to docs/results/NAME.json, without the machine's paths, and tabulate it beside.

    Operations layer by layer stay behind: `spikedet energy` publishes its own.
    """
    published = json.loads(results.read_text(encoding="utf-8"))
    for row in published["rows"]:
        row.get("operations", {}).pop("layers", None)
    for key in ("checkpoints", "data", "data_key"):
        published["meta"].pop(key, None)
    published["meta"].update(meta)
    path = write_json(ROOT / "docs" / "results" / f"{name}.json", published)
    write_text(
        path.with_suffix(".md"), f"# {name}\n\nMade from {path.name}.\n\n{markdown_table(read_results(path)[1])}"
    )
    return path


def filled(text: str) -> str:
    """A page with every marked table rebuilt; a table without results stays empty."""

    def fill(match: re.Match[str]) -> str:
        made = published_table(match[2])
        return f"{match[1]}\n{made}\n\n{match[3]}" if made else f"{match[1]}{match[3]}"

    return MARK.sub(fill, text)


def main() -> None:
    """Write the pages, or with --check only say whether they are current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether the pages are current")
    parser.add_argument("--publish", nargs=2, metavar=("NAME", "RESULTS"), help="results to publish first")
    arguments = parser.parse_args()
    if arguments.publish:
        print("published", publish(arguments.publish[0], Path(arguments.publish[1])))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        made = filled(text)
        if arguments.check and made != text:
            raise SystemExit(f"{page.name}: not the tables of docs/results: run python benchmarks/readme_tables.py")
        if not arguments.check:
            page.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""README's tables, made from docs/results/*.json; a test checks that they are current.

python benchmarks/readme_tables.py [--check]
python benchmarks/readme_tables.py --publish quickstart runs/quickstart/results/results.json
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from spikedet.evaluation import ResultRow, markdown_table, read_results
from spikedet.files import write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("copied", "fine")
HEAD = (
    "network",
    "Stage I",
    "neuron",
    "T",
    "t",
    "L",
    "spikes per picture",
    "AP50:95",
    "AP50",
    "AP75",
    "loss [95 % interval]",
)


def table(rows: list[ResultRow]) -> str:
    """The source and the spiking networks read at their own T, under a line that says what it is.

    QC-ANNs, coarse calibration and early read-outs are in docs/results.
    """
    shown = [row for row in rows if not row.read_early and (row.stage in SHOWN or not row.finetuned)]
    first = shown[0]
    lines = [
        f"{first.model} on {first.data} {first.split} ({first.images} pictures), "
        "converted for T and read at T, AP in %.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{' --- |' * 3}{' ---: |' * (len(HEAD) - 3)}",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(cells(row))} |" for row in shown)])


def cells(row: ResultRow) -> list[str]:
    """One row's cells, in the order of ``HEAD``."""
    neuron = row.neuron or "-"
    neuron += f", delay {row.delay}" if row.delay else ""
    interval = f" [{row.loss_ci95[0]:.1f}, {row.loss_ci95[1]:.1f}]" if row.loss_ci95 else ""
    spikes = f"{row.spikes_per_image / 1e6:.2f} M" if row.spikes_per_image else "-"
    loss = f"{row.loss:.1f}{interval}" if row.loss is not None else "-"
    aps = [f"{value:.1f}" if value is not None else "-" for value in (row.AP, row.AP50, row.AP75)]
    return [row.network, row.stage1, neuron, *(str(n or "-") for n in (row.T, row.t, row.L)), spikes, *aps, loss]


def publish(name: str, results: Path, **meta: Any) -> Path:
    """Copy a ``results.json`` to docs/results/NAME.json, without the machine's paths, and tabulate it beside."""
    published = json.loads(results.read_text(encoding="utf-8"))
    published["meta"].pop("checkpoints", None)
    published["meta"].update(meta)
    path = write_json(ROOT / "docs" / "results" / f"{name}.json", published)
    write_text(
        path.with_suffix(".md"), f"# {name}\n\nMade from {path.name}.\n\n{markdown_table(read_results(path)[1])}"
    )
    return path


def filled(text: str) -> str:
    """README with every marked table made anew; a table without results stays empty."""

    def fill(match: re.Match[str]) -> str:
        results = ROOT / "docs" / "results" / f"{match[2]}.json"
        made = f"\n{table(read_results(results)[1])}\n\n" if results.exists() else ""
        return f"{match[1]}{made}{match[3]}"

    return MARK.sub(fill, text)


def main() -> None:
    """Write README, or with --check only say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether README is current")
    parser.add_argument("--publish", nargs=2, metavar=("NAME", "RESULTS"), help="results to publish first")
    arguments = parser.parse_args()
    if arguments.publish:
        print("published", publish(arguments.publish[0], Path(arguments.publish[1])))
    text = README.read_text(encoding="utf-8")
    made = filled(text)
    if arguments.check and made != text:
        raise SystemExit("README's tables are not those of docs/results: run python benchmarks/readme_tables.py")
    if not arguments.check:
        README.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()

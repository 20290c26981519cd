#!/usr/bin/env python3
"""The tables of README and docs, made from docs/results/*.json; a test checks that they are current.

python benchmarks/readme_tables.py [--check]
python benchmarks/readme_tables.py --publish quickstart runs/quickstart/results/results.json
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikedet.evaluation import ResultRow, markdown_table, read_results
from spikedet.files import write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("simulator", "pipeline", "table_x", "energy")))
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("copied", "fine", "joint")
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


def network_name(row: ResultRow) -> str:
    """What was done to make a network, in the paper's words, for a table with T across."""
    if row.stage == "ann":
        return row.network
    if row.method == "channel-norm":
        return "Spiking-YOLO baseline (channel norm)"
    if row.stage == "qc":
        return "QC-ANN"
    later = {"copied": [], "coarse": ["Stage II, coarse only"], "fine": ["Stage II"]}
    later["joint"] = [*(["Stage II"] if row.calibration_images else []), "joint"]
    stages = [*(["Stage I"] if row.finetuned else []), *later[row.stage]]
    name = " + ".join(stages) or "weights copied"
    extra = [*(["signed IF"] if row.neuron == "signed" else []), *([f"delay {row.delay}"] if row.delay else [])]
    return ", ".join([name, *extra])


def pivot(rows: list[ResultRow]) -> str:
    """AP50:95 / AP50 of every network (down) by time step (across); a table for each number of pictures.

    Networks are read at their own T; only the baseline, made for no T in particular, is read earlier. Of Stage I runs
    that follow each other the last one's ANNs are shown.
    """
    parts = []
    for images in sorted({row.images for row in rows}, reverse=True):
        shown = [r for r in rows if r.images == images and (not r.read_early or r.method == "channel-norm")]
        steps = sorted({row.t for row in shown if row.t and row.stage != "qc"})
        lines: dict[str, dict[int, str]] = {}
        several = len({row.stage1_options for row in shown if row.finetuned and row.neuron}) > 1
        for row in shown:
            cell = f"{row.AP:.1f} / {row.AP50:.1f}" if row.AP is not None and row.AP50 is not None else "-"
            columns = steps if row.stage == "ann" else [row.t] if row.t in steps else []
            name = network_name(row) + (f" ({row.stage1_options})" if several and row.stage1_options else "")
            lines.setdefault(name, {}).update(dict.fromkeys((c for c in columns if c), cell))
        first = shown[0]
        head = f"{first.model} on {first.data} {first.split} ({images} pictures), AP50:95 / AP50 in %."
        titles = "| network |" + "".join(f" T = {t} |" for t in steps)
        body = [f"| {name} |" + "".join(f" {row.get(t, '-')} |" for t in steps) for name, row in lines.items() if row]
        parts.append("\n".join([head, "", titles, f"| --- |{' ---: |' * len(steps)}", *body]))
    return "\n\n".join(parts)


def versus_paper(rows: list[ResultRow], paper: Sequence[Mapping[str, Any]]) -> str:
    """The paper's figures and ours at the same T, one line for each of the paper's."""
    lines = ["| network | T | paper: AP50:95 | AP50 | ours: AP50:95 | AP50 |", f"| --- |{' ---: |' * 5}"]
    for row in paper:
        ours = [r for r in rows if network_name(r) == row["network"] and (r.t or r.T) == row["T"] and r.stage != "qc"]
        mine = [f"{ours[0].AP:.1f}", f"{ours[0].AP50:.1f}"] if ours else ["-", "-"]
        lines.append(f"| {row['network']} | {row['T']} | {row['AP']} | {row['AP50']} | {mine[0]} | {mine[1]} |")
    return "\n".join(lines)


def seeds_table(rows: list[ResultRow]) -> str:
    """Mean and spread over seeds of networks that differ in nothing else."""
    groups: dict[tuple[Any, ...], list[ResultRow]] = {}
    for row in rows:
        if row.stage not in ("ann", "qc") and not row.read_early:
            groups.setdefault((network_name(row), row.T), []).append(row)
    lines = ["| network | T | seeds | AP50:95 | AP50 | loss |", f"| --- |{' ---: |' * 5}"]
    for (name, T), members in groups.items():
        shown = [_spread([value for r in members if (value := getattr(r, key)) is not None]) for key in SPREADS]
        lines.append(f"| {name} | {T} | {len(members)} | {' | '.join(shown)} |")
    return "\n".join(lines)


SPREADS = ("AP", "AP50", "loss")


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}" if values else "-"


def kill_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What kills did to each verb."""
    lines = ["| verb | runs | kills | alone, s | lost work per kill, s | identical |", f"| --- |{' ---: |' * 5}"]
    for row in rows:
        cells = [row["verb"], row["runs"], row["kills"], f"{row['alone_s']:.1f}", f"{row['lost_s']:.1f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['identical']} of {row['runs']} |")
    return "\n".join(lines)


def first_table(text: str) -> str:
    """The first table of a Markdown text, with the line that says what it is."""
    head, _, rest = text.partition("\n| ")
    rows = ["| " + rest.partition("\n\n")[0]]
    return "\n".join([head.strip().splitlines()[-1], "", *rows])


SPEED_HEAD = ("simulator", "px", "batch", "T", "ms", "x ANN", "x bound", "peak MiB")


def speed_line(row: dict[str, Any]) -> str:
    """One row of the simulator benchmark, in the order of ``SPEED_HEAD``."""
    numbers = [f"{row['ms']:.1f}", f"{row['ratio']:.2f}"]
    numbers += ["-" if row["over_bound"] is None else f"{row['over_bound']:.2f}"]
    numbers += ["-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"]
    return f"| {' | '.join(map(str, [row['simulator'], row['px'], row['batch'], row['T'] or '-', *numbers]))} |"


def speed_table(published: dict[str, Any], *, whole: bool) -> str:
    """Times of the simulator benchmark; one picture of 320 px at T = 20 unless ``whole``."""
    meta, rows = published["meta"], published["rows"]
    if not whole:
        rows = [row for row in rows if row["px"] == 320 and row["batch"] == 1 and row["T"] in (0, 20)]
    lines = [
        f"{meta['network']}, {meta['threads']} threads; firing rate {100 * meta['rate']:.1f} % at T = 20.",
        "",
        f"| {' | '.join(SPEED_HEAD)} |",
        f"| --- |{' ---: |' * (len(SPEED_HEAD) - 1)}",
    ]
    return "\n".join([*lines, *map(speed_line, rows)])


def published_table(name: str) -> str:
    """The table of a mark ``NAME`` or ``NAME-FORM``; empty without results."""
    name, _, form = name.partition("-")
    path = ROOT / "docs" / "results" / f"{name}.json"
    if not path.exists():
        return ""
    if name.startswith("energy_"):
        return first_table(path.with_suffix(".md").read_text(encoding="utf-8"))
    if name == "kill":
        return kill_table(json.loads(path.read_text(encoding="utf-8"))["rows"])
    if name == "simulator":
        return speed_table(json.loads(path.read_text(encoding="utf-8")), whole=form == "whole")
    return {"": table, "pivot": pivot, "seeds": seeds_table}[form](read_results(path)[1])


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
    """A page with every marked table made anew; a table without results stays empty."""

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

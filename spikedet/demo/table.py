"""AP by time step of the weights that are shown, where somebody has measured it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from spikedet.common.markdown import decimal, table
from spikedet.config import Stage
from spikedet.evaluation import ResultRow, markdown_table, read_results
from spikedet.visualization.curves import plot_ap_by_t
from spikedet.visualization.page import markdown_html

STAGES = get_args(Stage)
NEURONS = {"if": "plain IF", "signed": "signed IF", "asymmetric": "asymmetric IF", "clif": "C-LIF"}


def find_results(weights: Path) -> Path | None:
    """The results that ``publish`` wrote beside weights, or ``evaluate`` in a folder beside them."""
    names = (f"{weights.stem}.json", "results/results.json", "results.json")
    return next((path for name in names if (path := weights.parent / name).is_file()), None)


def table_html(weights: Sequence[Path]) -> tuple[str, list[ResultRow]]:
    """A short table of all the weights with the whole one folded below, and the rows.

    Where nothing was measured there is a sentence instead, which does not name the server's folders.

    Raises:
        DataError: the results are damaged.
    """
    found = dict.fromkeys(results for path in weights if (results := find_results(path)))
    rows = [row for results in found for row in read_results(results)[1]]
    if not rows:
        command = f"spikedet evaluate {weights[-1].name} --out results"
        return markdown_html(f"Nobody has measured these weights yet. `{command}` makes the table."), []
    whole = f'<div class="wide">{_html(markdown_table(rows))}</div>'
    return f"{_html(short_table(rows))}<details><summary>All rows</summary>{whole}</details>", rows


def _html(markdown: str) -> str:
    """Tables whose alignment is the style sheet's, since the page allows no style within it."""
    return re.sub(r' style="text-align:(\w+)"', r' class="\1"', markdown_html(markdown))


def short_table(rows: Sequence[ResultRow]) -> str:
    """Markdown in README's five columns: networks read at their own T, the last stage of each."""
    chosen: dict[tuple[object, ...], ResultRow] = {}
    for row in rows:
        made = (row.method, row.architecture, row.neuron, row.waiting, row.max_pool, row.linear, row.T)
        alike = (*made, *_subject(row))
        known = chosen.get(alike)
        shown = not row.read_early and (row.spiking or (row.stage == "ann" and not row.finetuned))
        if shown and (known is None or STAGES.index(known.stage) <= STAGES.index(row.stage)):
            chosen[alike] = row
    several = len({(row.architecture, *_subject(row)) for row in chosen.values()}) > 1
    lines = []
    for row in chosen.values():
        name = "ANN" if row.neuron is None else NEURONS[row.neuron] + (f", {row.waiting}" if row.waiting else "")
        name += f", {row.architecture} on {row.data} {row.split}, {row.images} images" if several else ""
        lines.append([name, str(row.T or "-"), *map(decimal, (row.AP, row.AP50, _loss(row, rows)))])
    return table(("network", "T", "AP50:95", "AP50", "loss"), lines)


def _subject(row: ResultRow) -> tuple[object, ...]:
    """What networks have in common that can be compared."""
    return row.data, row.split, row.images


def _loss(row: ResultRow, rows: Sequence[ResultRow]) -> float | None:
    """Points of AP50:95 below the better ANN; of weights that were evaluated alone, below the best one shown."""
    if row.loss is not None or row.neuron is None or row.AP is None:
        return row.loss
    own = (row.architecture, *_subject(row))
    anns = [r.AP for r in rows if r.stage == "ann" and r.AP is not None and (r.architecture, *_subject(r)) == own]
    return max(anns) - row.AP if anns else None


def ap_plot(rows: Sequence[ResultRow], folder: Path) -> bytes:
    """AP by time step as PNG, drawn in the folder, once; no bytes without rows."""
    path = folder / "ap_by_t.png"
    return (path if path.is_file() else plot_ap_by_t(rows, path)).read_bytes() if rows else b""

"""AP by time step of the weights that are shown, where somebody has measured it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spikedet.evaluation import ResultRow, markdown_table, read_results


def find_results(weights: Path) -> Path | None:
    """The results that ``publish`` wrote beside weights, or ``evaluate`` in a folder beside them."""
    beside = (
        weights.with_suffix(".json"),
        weights.parent / "results" / "results.json",
        weights.parent / "results.json",
    )
    return next((path for path in beside if path.is_file()), None)


def table_markdown(weights: Sequence[Path]) -> tuple[str, list[ResultRow]]:
    """One table of all the weights, and its rows; a sentence and none where nothing was measured.

    Raises:
        DataError: the results are damaged.
    """
    found = dict.fromkeys(results for path in weights if (results := find_results(path)))
    rows = [row for results in found for row in read_results(results)[1]]
    if rows:
        return markdown_table(rows), rows
    command = f"spikedet evaluate {weights[-1]} --out {weights[-1].parent / 'results'}"
    return f"Nobody has measured these weights yet. `{command}` makes the table.", []

"""AP by time step of the weights that are shown, where somebody has measured it."""

from __future__ import annotations

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


def table_markdown(weights: Path) -> tuple[str, list[ResultRow]]:
    """The table in words and its rows; a sentence and none where nothing was measured.

    Raises:
        DataError: the results are damaged.
    """
    results = find_results(weights)
    if results is None:
        command = f"spikedet evaluate {weights} --out {weights.parent / 'results'}"
        return f"Nobody has measured these weights yet. `{command}` makes the table.", []
    rows = read_results(results)[1]
    return markdown_table(rows), rows

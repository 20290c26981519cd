"""Rows of an evaluation that belong to a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spikedet.evaluation.results import OPTIONAL_KEYS, ResultRow


def find_row(rows: Sequence[ResultRow], facts: Mapping[str, Any]) -> ResultRow | None:
    """The row with these fields; None if there is none, or if there are several of different AP.

    A file need not hold the optional fields: a row without one agrees with anything.
    """
    found = [row for row in rows if all(_agrees(row, name, value) for name, value in facts.items())]
    return found[0] if found and len({row.AP for row in found}) == 1 else None


def _agrees(row: ResultRow, name: str, value: Any) -> bool:
    stored = getattr(row, name)
    return stored == value or (stored is None and name in OPTIONAL_KEYS)


def ann_rows(
    rows: Sequence[ResultRow], model: str, stage1_T: set[int | None], stage: str
) -> dict[tuple[str, int | None], ResultRow]:
    """The networks without spikes of one stage, by name and T: the source, and what these Stages I made of it.

    Of Stages I at one T that follow each other the last one counts.

    Args:
        rows: of one data and split.
        model: name of the architecture.
        stage1_T: levels of the Stages I that count; those of a row that does not say so do.
        stage: ``ann`` or ``qc``.
    """
    found: dict[tuple[str, int | None], ResultRow] = {}
    for row in rows:
        if row.stage == stage and row.model == model and (not row.finetuned or row.stage1_T in {None, *stage1_T}):
            found[row.network, row.stage1_T or row.T] = row
    return found

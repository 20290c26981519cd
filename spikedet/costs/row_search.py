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


def ann_rows(rows: Sequence[ResultRow], networks: Sequence[Mapping[str, Any]], stage: str) -> list[ResultRow]:
    """The networks without spikes of one stage that these networks were made from: sources, and Stages I of theirs.

    Of Stages I that follow each other and differ in nothing that a row says, the last one counts.

    Args:
        rows: of one data and split.
        networks: as fields of their rows.
        stage: ``ann`` or ``qc``.
    """
    found = {
        (row.architecture, row.network, row.stage1_T or row.T, row.stage1_options, row.max_pool): row
        for row in rows
        if row.stage == stage and any(_became(row, facts) for facts in networks)
    }
    return list(found.values())


def _became(row: ResultRow, facts: Mapping[str, Any]) -> bool:
    """Whether the row's network may be one that the other was made from."""
    same = row.model == facts["model"] and _agrees(row, "activation", facts.get("activation"))
    pooled_alike = (row.max_pool == "average") == (facts.get("max_pool") == "average")
    stage1 = pooled_alike and all(_agrees(row, name, facts.get(name)) for name in ("stage1_T", "stage1_options"))
    return same and (not row.finetuned or stage1)

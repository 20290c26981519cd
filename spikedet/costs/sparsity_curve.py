"""What a penalty on firing buys: AP against synaptic operations of networks that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from spikedet.costs.report import EnergyRow, Spent

Curve = list[tuple[EnergyRow, Spent]]
"""Networks and what they did."""


def sparsity_curves(rows: Sequence[EnergyRow]) -> dict[str, Curve]:
    """Networks with several weights of the penalty, read at their own T, by what they are otherwise.

    Args:
        rows: of an energy report; those under its first table of constants count.

    Returns:
        By falling SOPs.
    """
    found: dict[str, Curve] = {}
    several = len({row.subject for row in rows}) > 1
    for row in rows:
        if row.spent is not None and row.t == row.T and row.constants == rows[0].constants:
            parts = [row.subject] if several else []
            parts += [row.network.removesuffix(f", {row.sparsity}"), f"T = {row.T}"]
            found.setdefault(", ".join(parts), []).append((row, row.spent))
    return {
        name: sorted(line, key=lambda point: -point[1].sops)
        for name, line in found.items()
        if len({row.sparsity for row, _ in line}) > 1
    }

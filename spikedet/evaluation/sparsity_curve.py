"""What a penalty on firing buys: AP against synaptic operations of networks that differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from spikedet.evaluation.energy_report import EnergyRow


def sparsity_curves(rows: Sequence[EnergyRow]) -> dict[str, list[EnergyRow]]:
    """Networks with several weights of the penalty, read at their own T, by what they are otherwise.

    Args:
        rows: of an energy report; those under its first table of constants count.

    Returns:
        By falling SOPs.
    """
    found: dict[str, list[EnergyRow]] = {}
    several = len({(row.model, row.image_size) for row in rows}) > 1
    for row in rows:
        if row.spent is not None and row.t == row.T and row.constants == rows[0].constants:
            parts = [f"{row.model} at {row.image_size} px"] if several else []
            parts += [row.network.removesuffix(f", {row.sparsity}"), f"T = {row.T}"]
            found.setdefault(", ".join(parts), []).append(row)
    return {
        name: sorted(line, key=lambda row: -row.spent.sops if row.spent else 0.0)
        for name, line in found.items()
        if len({row.sparsity for row in line}) > 1
    }

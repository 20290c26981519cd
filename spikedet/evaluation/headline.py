"""What an evaluation found, in sentences: which network loses how much AP at which T, its spikes and its energy."""

from __future__ import annotations

from collections.abc import Sequence

from spikedet.costs.priced import Priced
from spikedet.evaluation.results import ResultRow, network_name


def headline(rows: Sequence[ResultRow]) -> ResultRow | None:
    """The row that an evaluation is about: of the spiking networks with the last one's T the best, read at T if any is.

    Without a spiking network it is the last row.
    """
    spiking = [row for row in rows if row.spiking]
    whole = [row for row in spiking if not row.read_early] or spiking or list(rows)
    alike = [row for row in reversed(whole) if (row.T, row.t) == (whole[-1].T, whole[-1].t)]
    return max(alike, key=lambda row: row.AP or 0.0, default=None)


def baseline(row: ResultRow, rows: Sequence[ResultRow]) -> str:
    """Name of the ANN that the loss of a row is against."""
    anns = [ann for ann in rows if ann.stage == "ann" and ann.AP is not None]
    known = min(anns, key=lambda ann: abs((ann.AP or 0.0) - (row.AP or 0.0) - (row.loss or 0.0)), default=None)
    return network_name(known.stage, known.finetuned) if known else "ANN"


def sentences(row: ResultRow, energy: Priced | None = None, rows: Sequence[ResultRow] = ()) -> list[str]:
    """Plain text: the finding in one sentence, then its details; ``rows`` are those of the whole evaluation.

    ``SNN + joint loses 2.6 points of AP50:95 at T = 8, with 0.27 million spikes an image and 31 % of the ANN's
    energy.``
    """
    name = network_name(row.stage, row.finetuned, row.method)
    name += {"signed": " with signed IF neurons", "clif": " with C-LIF neurons"}.get(row.neuron or "", "")
    images = f"{row.images:,} images of {row.data} {row.split}"
    if row.AP is None:
        return [f"There is no object to find on the {images}, so {name} has no AP."]
    spends = [f"{_count(row.spikes_per_image)} spikes an image"] if row.spikes_per_image else []
    if energy and energy.ann_joules:
        spends.append(f"{100 * energy.joules / energy.ann_joules:.0f} % of the ANN's energy")
    found = f"has {row.AP:.1f} % AP50:95"
    details = f"It was evaluated on the {images}"
    if row.spiking and row.loss is not None:
        found = f"{'loses' if row.loss >= 0 else 'gains'} {abs(row.loss):.1f} points of AP50:95"
        details = f"It has {row.AP:.1f} % on the {images}, the {baseline(row, rows)} {row.AP + row.loss:.1f} %"
    if row.loss_ci95:
        details += f"; the 95 % interval of the loss is {row.loss_ci95[0]:.1f} to {row.loss_ci95[1]:.1f}"
    early = f"t = {row.t} of " if row.read_early else ""
    at = f" at {early}T = {row.T}" if row.T else ""
    lead = f"{name} {found}{at}{', with ' if spends else ''}{' and '.join(spends)}."
    if energy is None:
        return [lead, f"{details}."]
    traffic = "with" if energy.memory_traffic else "without"
    compared = f"An image needs {1e3 * energy.joules:.3g} mJ, the ANN {1e3 * energy.ann_joules:.3g} mJ"
    return [lead, f"{details}.", f"{compared} ({energy.constants}, {traffic} memory traffic)."]


def _count(number: float) -> str:
    return f"{number / 1e6:.2f} million" if number >= 1e5 else f"{number:,.0f}"

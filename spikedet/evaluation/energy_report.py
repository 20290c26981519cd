"""What ``spikedet energy`` found, as JSON and as Markdown: the counterpart of the paper's table VII for detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from spikedet.evaluation.energy import EnergyRow, LayerCost

NOTES = (
    "SOPs are counted spike by spike: one for every weight a spike meets, fewer at borders. MACs of ANNs include the "
    "zeros of the padding, as is usual.",
    "The convolution of the image is multiply-accumulate in the spiking network too. It is counted once, as the "
    "simulator computes it; the figure with the image convolved in every step stands beside.",
    "Additions of biases and comparisons with thresholds (one for each neuron and step) are in no row.",
)
WITHOUT_MEMORY = (
    "Memory traffic is not in these figures; on most hardware it costs more than the operations. --memory-traffic adds a "
    "simple model of it."
)
WITH_MEMORY = "Memory traffic is in these figures, by the model of the tables of constants: nothing is ever reused."


@dataclass(frozen=True, kw_only=True)
class EnergyReport:
    """Energy of one or several spiking networks and of the ANNs they came from.

    Attributes:
        model, data, split, images: what was measured on what; ``images`` is the number of pictures.
        constants: the tables of constants, float and quantized, as mappings.
        memory_traffic: whether the figures hold it.
        rows: ANN, quantized ANN, then the spiking networks by time step.
        layers: costs of every layer, by the name of the spiking network.
        meta: versions, settings and the hash of every checkpoint.
    """

    model: str
    data: str
    split: str
    images: int
    constants: tuple[dict[str, Any], ...]
    memory_traffic: bool
    rows: tuple[EnergyRow, ...]
    layers: dict[str, tuple[LayerCost, ...]]
    meta: dict[str, Any] = field(default_factory=dict)


def energy_markdown(report: EnergyReport) -> str:
    """The whole report."""
    where = f"{report.model} on {report.data} {report.split} ({report.images} pictures)"
    sources = [
        f"- {table['name']}: {table['mac_pj']} pJ a MAC, {table['ac_pj']} pJ a SOP. {table['source']}."
        for table in report.constants
    ]
    notes = [f"- {note}" for note in (*NOTES, WITH_MEMORY if report.memory_traffic else WITHOUT_MEMORY)]
    parts = [
        "# Energy",
        f"{where}; per picture, mean ± standard deviation over pictures.",
        energy_table(report.rows),
        "\n".join([*sources, *notes]),
    ]
    for name, layers in report.layers.items():
        parts += [f"## {name}, by layer", layer_table(layers)]
    return "\n\n".join(parts) + "\n"


HEAD = ("network", "constants", "T", "t", "L", "AP50:95", "loss [95 %]", "GMAC", "GSOP", "firing rate, %", "mJ")
HEAD += ("of float ANN, %", "of quantized ANN, %", "image in every step, mJ")


def energy_table(rows: Sequence[EnergyRow]) -> str:
    """One line for each row."""
    lines = [HEAD, ["---"] * 2 + ["---:"] * (len(HEAD) - 2), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: EnergyRow) -> list[str]:
    steps = ["-" if value is None else str(value) for value in (row.T, row.t, row.L)]
    loss = "-" if row.loss is None else f"{row.loss + 0.0:.1f}"
    if row.loss_ci95 is not None:
        loss += f" [{row.loss_ci95[0] + 0.0:.1f}, {row.loss_ci95[1] + 0.0:.1f}]"
    spiking = row.t is not None
    sops = f"{row.sops / 1e9:.4f} ± {row.sops_std / 1e9:.4f}" if spiking else "-"
    joules = f"{row.joules * 1e3:.4f}" + (f" ± {row.joules_std * 1e3:.4f}" if spiking else "")
    ratio = f"{100 * row.ratio:.2f}" + (f" ± {100 * row.ratio_std:.2f}" if spiking else "")
    every = "-" if row.joules_every_step is None else f"{row.joules_every_step * 1e3:.4f}"
    ap = "-" if row.AP is None else f"{row.AP:.1f}"
    rate = f"{100 * row.firing_rate:.1f}" if spiking else "-"
    numbers = [f"{row.macs / 1e9:.4f}", sops, rate, joules, ratio, f"{100 * row.ratio_quantized:.1f}", every]
    return [row.network, row.constants, *steps, ap, loss, *numbers]


def layer_table(layers: Sequence[LayerCost]) -> str:
    """MACs of the ANN beside SOPs of the spiking network, layer by layer, and the SOPs of each time step."""
    steps = len(layers[0].sops) if layers else 0
    shown = sorted({0, *(round(i * (steps - 1) / 7) for i in range(8)), steps - 1} - {-1})
    head = ["layer", "neurons", "MMAC", "MMAC, image", "MSOP", "SOP / MAC", "spikes", "firing rate, %"]
    lines = [[*head, *(f"MSOP, step {step + 1}" for step in shown)]]
    lines.append(["---"] + ["---:"] * (len(lines[0]) - 1))
    for layer in layers:
        sops, spikes = sum(layer.sops), sum(layer.spikes)
        numbers = [f"{layer.neurons:,}", f"{layer.macs / 1e6:.2f}", f"{layer.constant_macs / 1e6:.2f}"]
        numbers += [f"{sops / 1e6:.2f}", f"{sops / layer.macs:.3f}", f"{spikes:,.0f}"]
        numbers += [f"{100 * spikes / (layer.neurons * steps):.1f}" if layer.neurons and steps else "-"]
        lines.append([layer.layer, *numbers, *(f"{layer.sops[step] / 1e6:.2f}" for step in shown)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

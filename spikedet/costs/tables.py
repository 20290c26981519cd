"""An ``EnergyReport`` as Markdown: the counterpart of table VII of Wang et al. for detection, and tables by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from spikedet.common.markdown import decimal, plain_text, table
from spikedet.costs.report import EnergyReport, EnergyRow, LayerCost
from spikedet.costs.sparsity_curve import Curve, sparsity_curves

NOTES = (
    "SOPs are counted spike by spike: one for every weight that a spike meets, fewer at borders. MACs include the "
    "zeros of the padding, as is usual.",
    "Additions of biases, comparisons with thresholds and comparisons of max-pooling are in no row.",
    "The quantized ANN is priced by its own constants, whatever its number of levels. Spiking rows priced by them are "
    "networks with weights of that kind; their AP is that of the float weights.",
)
IMAGE_ONCE = (
    "The convolution of the image is multiply-accumulate in the spiking network too. It is counted once, as the "
    "simulator computes it; the last column has the energy with the image convolved in every step."
)
WITHOUT_MEMORY = (
    "Memory traffic is not in these figures; on most hardware it costs more than the operations. --memory-traffic adds "
    "a simple model of it."
)
FOLDED = (
    "Pointwise convolutions without activation and without neurons are folded into the layers that read them: a spike "
    "costs one operation for every neuron that it reaches through them."
)
ANALOG = (
    "Other convolutions without activation are analog currents: their operations, and those of the layers that "
    "read them, are multiply-accumulates in every step. They are in the GMAC of their networks."
)
WITH_MEMORY = "Memory traffic is in these figures, by the model of the tables of constants: nothing is ever reused."

SPARSITY = "Networks that differ in their penalty on firing alone; shares are of the most operations."


def energy_markdown(report: EnergyReport) -> str:
    """The whole report."""
    subject = plain_text(" and ".join(dict.fromkeys(row.subject for row in report.rows)))
    measured = f" on {plain_text(f'{report.data} {report.split}')} ({report.images} images)" if report.images else ""
    spread = "; per image, mean ± standard deviation over images" if report.images else ", per image"
    source = f" AP: {plain_text(report.ap_source)}." if report.ap_source else ""
    parts = ["# Energy", f"{subject}{measured}{spread}.{source}"]
    parts += [short_table(report.rows)] if report.networks else []
    parts += [energy_table(report), "\n".join(f"- {line}" for line in _notes(report))]
    if curves := sparsity_curves(report.rows):
        parts += ["## Sparsity", SPARSITY, sparsity_table(curves)]
    for network in report.networks:
        parts += [f"## {plain_text(network.network)}, by layer", layer_table(network.layers)]
    return "\n\n".join(parts) + "\n"


def _notes(report: EnergyReport) -> Iterable[str]:
    for prices in report.constants:
        yield plain_text(f"{prices.name}: {prices.mac_pj:g} pJ a MAC, {prices.ac_pj:g} pJ a SOP. {prices.source}.")
        if report.memory_traffic and prices.memory is not None:
            yield plain_text(f"{prices.name}: {prices.memory.access_pj:g} pJ an access. {prices.memory.source}.")
    if report.networks:
        yield IMAGE_ONCE
    layers = [layer for network in report.networks for layer in network.layers]
    if any(not layer.macs_inside for layer in layers):
        yield FOLDED
    if any(layer.analog_macs for layer in layers):
        yield ANALOG
    yield from NOTES
    yield WITH_MEMORY if report.memory_traffic else WITHOUT_MEMORY


def short_table(rows: Sequence[EnergyRow]) -> str:
    """As table VII of Wang et al.: metrics downwards, time steps to the right, under the float ANN's constants."""
    spiking = [row for row in rows if row.spent is not None and row.constants == rows[0].constants]
    columns = list(dict.fromkeys(row.steps for row in sorted(spiking, key=lambda row: (row.T or 0, row.t or 0))))
    found = []
    names = list(dict.fromkeys((row.network, row.model, row.image_size) for row in spiking))
    for metric, text in METRICS.items():
        for name in names:
            ann = next(row for row in rows if row.spent is None and (row.model, row.image_size) == name[1:])
            cells = {row.steps: text(row) for row in spiking if (row.network, row.model, row.image_size) == name}
            found.append([metric, plain_text(name[0]), text(ann), *(cells.get(column, "-") for column in columns)])
    return table(("metric", "network", "ANN", *columns), found, 2)


def _ap(row: EnergyRow) -> str:
    return decimal(row.AP) if row.loss is None else f"{decimal(row.AP)} ({decimal(row.loss)})"


def _operations(row: EnergyRow) -> str:
    return f"{row.macs / 1e9:.4g}" if row.spent is None else _spread(row.spent.sops / 1e9, row.spent.sops_std / 1e9)


def _joules(row: EnergyRow) -> str:
    return _spread(1e3 * row.joules, None if row.spent is None else 1e3 * row.spent.joules_std)


def _ratio(row: EnergyRow) -> str:
    deviation = None if row.spent is None or not row.joules else row.ratio * row.spent.joules_std / row.joules
    return _spread(100 * row.ratio, None if deviation is None else 100 * deviation)


METRICS = {"AP50:95 (loss)": _ap, "GSOP (ANN: GMAC)": _operations, "mJ": _joules, "of the ANN, %": _ratio}


def energy_table(report: EnergyReport) -> str:
    """One line for each row."""
    several = len({(row.model, row.image_size) for row in report.rows}) > 1
    head = ["network", *(["model"] if several else []), "constants", "T", "t", "L", "AP50:95", "loss [95 %]", "GMAC"]
    head += ["GSOP", "firing rate, %", "mJ", "of the ANN, %", "of the quantized ANN, %", "mJ, image in every step"]
    lines = []
    for row in report.rows:
        model = [f"{row.model}, {row.image_size} px"] if several else []
        names = map(plain_text, (row.network, *model, row.constants))
        steps = ["-" if value is None else str(value) for value in (row.T, row.t, row.L)]
        interval = f" [{decimal(row.loss_ci95[0])}, {decimal(row.loss_ci95[1])}]" if row.loss_ci95 else ""
        operations, other = [f"{row.macs / 1e9:.4g}", "-", "-"], "-"
        if (spent := row.spent) is not None:
            operations[1:] = [_operations(row), f"{100 * spent.firing_rate:.1f}"]
            other = f"{1e3 * spent.joules_image_every_step:.4g}"
        numbers = [*steps, decimal(row.AP), decimal(row.loss) + interval, *operations, _joules(row), _ratio(row)]
        lines.append([*names, *numbers, f"{100 * row.ratio_quantized:.4g}", other])
    return table(head, lines, 2 + several)


def sparsity_table(curves: Mapping[str, Curve]) -> str:
    """AP against SOPs, a network after the other by falling SOPs."""
    head = ["network", "penalty", "GSOP", "of the most, %", "firing rate, %", "of the ANN, %", "AP50:95 (loss)"]
    lines = []
    for name, line in curves.items():
        most = line[0][1].sops or 1.0
        for row, spent in line:
            shares = [f"{100 * spent.sops / most:.1f}", f"{100 * spent.firing_rate:.1f}", _ratio(row)]
            lines.append([plain_text(name), row.sparsity or "none", _operations(row), *shares, _ap(row)])
    return table(head, lines, 2)


SHOWN_STEPS = 8
"""Most time steps that a table shows, spread over all of them."""


def layer_table(layers: Sequence[LayerCost]) -> str:
    """MACs of the ANN beside SOPs of the spiking network, layer by layer, and the SOPs of time steps."""
    steps = len(layers[0].sops)
    shown = sorted({round(i * (steps - 1) / (SHOWN_STEPS - 1)) for i in range(SHOWN_STEPS)})
    analog = any(layer.analog_macs for layer in layers)
    head = ["layer", "neurons", "MMAC", "MMAC, image", *(["MMAC, analog, each step"] if analog else [])]
    head += ["MSOP", "SOP / MAC", "spikes", "firing rate, %"]
    head += [f"MSOP, step {step + 1}" for step in shown]
    lines = []
    for layer in layers:
        sops, spikes = sum(layer.sops), sum(layer.spikes)
        numbers = [f"{layer.neurons:,}", f"{layer.macs / 1e6:.2f}", f"{layer.image_macs / 1e6:.2f}"]
        numbers += [f"{layer.analog_macs / 1e6:.2f}"] if analog else []
        numbers += [
            f"{sops / 1e6:.2f} ± {layer.total_sops_std / 1e6:.2g}",
            f"{sops / layer.macs:.3f}",
            f"{spikes:,.0f}",
        ]
        numbers += [f"{100 * spikes / (layer.neurons * steps):.1f}" if layer.neurons else "-"]
        lines.append([plain_text(layer.layer), *numbers, *(f"{layer.sops[step] / 1e6:.2f}" for step in shown)])
    return table(head, lines)


def _spread(mean: float, deviation: float | None) -> str:
    """Four significant digits, two of the deviation."""
    return f"{mean:.4g}" if deviation is None else f"{mean:.4g} ± {deviation:.2g}"

"""Rows of an energy report: every ANN, quantized ANN and spiking network, at every read-out, under every pricing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from spikedet.costs.counts import OperationCounts
from spikedet.costs.operations import LayerSynapses
from spikedet.costs.pricing import Pricing, Totals
from spikedet.costs.report import EnergyRow, LayerCost
from spikedet.costs.results import EvaluatedRows
from spikedet.evaluation.results import ResultRow, architecture_name, network_name, waiting


@dataclass(frozen=True)
class Measured:
    """One checkpoint.

    Attributes:
        facts: what it is and how it was made, as fields of a ``ResultRow``, ``checkpoint`` among them.
        image_size: side of its square input, pixels.
        layers: what its network is made of.
        counts: what its spikes did, by time step read out, if it spikes.
        latencies: L by time step read out.
        mark: what tells it from others that tables would call the same, if there are such.
    """

    facts: Mapping[str, Any]
    image_size: int
    layers: Sequence[LayerSynapses]
    counts: Mapping[int, OperationCounts] = field(default_factory=dict)
    latencies: Mapping[int, int] = field(default_factory=dict)
    mark: str = ""

    @property
    def totals(self) -> Totals:
        """All layers together."""
        return Totals.of(self.layers)

    def layer_costs(self) -> tuple[LayerCost, ...]:
        """Of every layer with weights, in execution order, in the steps of the last read-out."""
        names = ("layer", "neurons", "macs", "macs_inside", "image_macs", "analog_macs")
        return tuple(
            LayerCost(**{name: getattr(layer, name) for name in names}, **vars(counted))
            for layer, counted in zip(self.layers, self.counts[max(self.counts)].layers, strict=True)
        )

    @property
    def sparsity(self) -> str:
        """The penalties on firing that it was trained and calibrated with, for example ``sparsity 5``, or empty."""
        said = [self.facts.get(name) or "" for name in ("stage1_options", "calibrated")]
        return ", ".join(part for part in ", ".join(said).split(", ") if "sparsity" in part)

    @property
    def name(self) -> str:
        """What tables call it."""
        neuron, delay, T, levels = (self.facts[name] for name in ("neuron", "delay", "T", "stage1_T"))
        options = [part for part in (self.facts.get("stage1_options") or "").split(", ") if "sparsity" not in part]
        stage, finetuned, method = (self.facts[name] for name in ("stage", "finetuned", "method"))
        parts = [network_name(stage, finetuned, method), *([neuron] if neuron else [])]
        parts += [said] if (said := waiting(delay, self.facts.get("latency"))) else []
        parts += [f"SFA {T // D} x {D}"] if (D := self.facts.get("D")) else []
        parts += ["linear layers without neurons"] if self.facts.get("linear") == "analog" else []
        parts += [f"Stage I T = {levels}"] if levels not in (None, T) else []
        return ", ".join([*parts, *filter(None, [*options, self.sparsity, self.mark])])

    @property
    def architecture(self) -> str:
        """What tables call its model."""
        return architecture_name(self.facts["model"], self.facts.get("activation"))


def told_apart(measured: Mapping[Path, Measured]) -> list[Measured]:
    """Checkpoints by their files; wherever spiking networks are called the same, with ``FOLDER/NAME`` as a mark."""
    names = [(one.architecture, one.image_size, one.name, one.facts["T"]) for one in measured.values()]
    return [
        replace(one, mark=f"{file.parent.name}/{file.name}") if one.counts and names.count(name) > 1 else one
        for (file, one), name in zip(measured.items(), names, strict=True)
    ]


def energy_rows(
    measured: Sequence[Measured], float_pricing: Pricing, quantized_pricing: Pricing, evaluated: EvaluatedRows
) -> list[EnergyRow]:
    """ANNs and quantized ANNs once for each architecture and input size, then its spiking networks.

    Args:
        measured: the checkpoints.
        float_pricing: of the float ANN, and of spiking networks.
        quantized_pricing: of the quantized ANN, and of spiking networks with weights of its kind.
        evaluated: rows of an evaluation on the same data and split, for AP.
    """
    groups: dict[tuple[str, int, Totals], list[Measured]] = {}
    for one in measured:
        groups.setdefault(
            (one.architecture, one.image_size, replace(one.totals, neurons=0, waits=0, analog_macs=0, leak_macs=0)), []
        ).append(one)
    pricings = (float_pricing, quantized_pricing)
    return [row for members in groups.values() for row in _rows(members, pricings, evaluated)]


def _rows(
    members: Sequence[Measured], pricings: tuple[Pricing, Pricing], evaluated: EvaluatedRows
) -> Iterator[EnergyRow]:
    """Those of one architecture."""
    first, totals = members[0], members[0].totals
    anns = [pricing.ann_joules(totals) for pricing in pricings]
    digests = [one.facts["checkpoint"] for one in members]

    def priced(joules: float, **fields: Any) -> EnergyRow:
        over_ann, over_quantized = (joules / ann if ann else 0.0 for ann in anns)  # constants may make all free
        fields |= {"model": first.architecture, "image_size": first.image_size}
        return EnergyRow(joules=joules, ratio=over_ann, ratio_quantized=over_quantized, **fields)

    kinds = ((("ann",), "ANN"), (("qc", "sfa"), "quantized ANN"))
    for pricing, joules, (stages, unknown) in zip(pricings, anns, kinds, strict=True):
        ann = partial(priced, joules, constants=pricing.constants.name, macs=totals.macs)
        found = [row for stage in stages for row in evaluated.anns(digests, stage)]
        for row in found:
            options = row.stage1_options if row.finetuned else ""  # else they are in its name
            yield ann(network=", ".join(filter(None, (row.network, options))), T=row.stage1_T or row.T, **_ap(row))
        if not found:
            yield ann(network=unknown)
    for pricing in dict.fromkeys(pricings):
        for one in members:
            for t, counts in one.counts.items():
                spent = pricing.spent(one.totals, t, counts)
                yield priced(
                    spent.joules,
                    network=one.name,
                    sparsity=one.sparsity,
                    constants=pricing.constants.name,
                    T=one.facts["T"],
                    t=t,
                    L=one.latencies[t],
                    macs=pricing.snn_macs(one.totals, t),
                    spent=spent,
                    **_ap(evaluated.row(one.facts["checkpoint"], t)),
                )


def _ap(row: ResultRow | None) -> dict[str, Any]:
    return {} if row is None else {"AP": row.AP, "loss": row.loss, "loss_ci95": row.loss_ci95}

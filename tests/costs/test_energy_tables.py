"""Rows, tables and plots of an energy report, from figures made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from spikedet.costs.constants import load_constants
from spikedet.costs.counts import operation_counts
from spikedet.costs.operations import LayerSynapses
from spikedet.costs.pricing import Pricing
from spikedet.costs.report import EnergyReport, EnergyRow, NetworkCost
from spikedet.costs.results import EvaluatedRows
from spikedet.costs.rows import Measured, energy_rows, told_apart
from spikedet.costs.sparsity_curve import sparsity_curves
from spikedet.costs.tables import energy_markdown, energy_table, layer_table, short_table
from spikedet.evaluation import ResultRow
from spikedet.visualization import figure
from spikedet.visualization.energy_plots import lines, plot_energy

FLOAT, INT = (Pricing(load_constants(name)) for name in ("45nm_float", "45nm_int8"))
LAYERS = [
    LayerSynapses("stem", neurons=1000, outputs=1000, macs=10**6, macs_inside=9 * 10**5, image_macs=10**6),
    LayerSynapses("out", neurons=0, outputs=10, macs=10**8, macs_inside=10**8, image_macs=0),
]
SOURCE = ResultRow(model="tiny", stage="ann", finetuned=False, data="d", split="val", images=9, seed=0, AP=60.0)
SOURCE = replace(SOURCE, checkpoint="a")
CLIP = replace(SOURCE, finetuned=True, stage1_T=4, AP=59.0, checkpoint="q", parent="a")
QC = replace(CLIP, stage="qc", T=4, AP=58.0, loss=2.0, loss_ci95=(1.0, 3.0))
FINE = replace(QC, stage="fine", neuron="if", delay=0, t=4, L=4, AP=57.0, loss=3.0, calibrated="W")
FINE = replace(FINE, checkpoint="f", parent="q")
FACTS = {
    **{name: getattr(FINE, name) for name in ("method", "model", "stage", "finetuned", "neuron", "delay", "T", "seed")},
    **{name: getattr(FINE, name) for name in ("stage1_T", "calibration_images", "calibrated", "checkpoint")},
}


def seen(sops: float, steps: int) -> torch.Tensor:
    """A batch of two images, ``[2, layers, steps, 2]``: 100 spikes of the stem and so many SOPs a step."""
    counted = torch.zeros(2, 2, steps, 2, dtype=torch.float64)
    counted[0, 1], counted[1, 0] = torch.tensor([sops, 3 * sops]), 100
    return counted


def measured(T: int = 4, t: tuple[int, ...] = (4,), more: tuple[float, ...] = (), **facts: object) -> Measured:
    """10 MSOPs a step on average, and two images for each of ``more``."""
    counts = operation_counts([seen(sops, max(t)) for sops in (5e6, *more)], t)
    return Measured({**FACTS, "T": T, **facts}, 64, LAYERS, counts, {step: step for step in t})


def rows_of(networks: list[Measured], evaluated: list[ResultRow], second: Pricing = INT) -> list[EnergyRow]:
    parents = {row.checkpoint: row.parent for row in evaluated if row.checkpoint}
    return energy_rows(networks, FLOAT, second, EvaluatedRows(tuple(evaluated), "results.json", parents))


def made(networks: list[Measured], evaluated: list[ResultRow]) -> EnergyReport:
    return EnergyReport(
        data="d", split="val", images=2 if any(one.counts for one in networks) else 0, ap_source="results.json",
        constants=(FLOAT.constants, INT.constants), memory_traffic=False,
        rows=tuple(rows_of(networks, evaluated)),
        networks=tuple(NetworkCost(network=x.name, layers=x.layer_costs()) for x in networks if x.counts),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, "SNN + coarse + fine, if"),
        ({"neuron": "signed", "delay": 2, "stage1_T": 8}, "SNN + coarse + fine, signed, delay 2, Stage I T = 8"),
        ({"stage": "copied", "stage1_options": "distilled"}, "SNN, weights copied, if, distilled"),
        ({"stage": "joint", "calibrated": "W, jointly, joint sparsity 2"}, "SNN + joint, if, joint sparsity 2"),
        (
            {
                "stage": "joint",
                "stage1_options": "distilled, sparsity 4",
                "calibrated": "W, sparsity 2",
            },
            "SNN + joint, if, distilled, sparsity 4, sparsity 2",
        ),
    ],
)
def test_a_name_tells_networks_apart(facts: dict[str, object], name: str) -> None:
    assert measured(**facts).name == name  # type: ignore[arg-type]


def test_networks_of_one_name_are_told_apart_by_their_files() -> None:
    networks = [measured(seed=0), measured(seed=1), measured(8, (8,)), replace(measured(seed=2), counts={})]
    files = [Path(f"runs/{name}/fine.safetensors") for name in "abcd"]
    assert [one.name for one in told_apart(dict(zip(files, networks, strict=True)))] == [
        "SNN + coarse + fine, if, a/fine.safetensors",
        "SNN + coarse + fine, if, b/fine.safetensors",
        "SNN + coarse + fine, if, Stage I T = 4",
        "SNN + coarse + fine, if",
    ]


# --- which row belongs to which network -----------------------------------------------------------------------------


def test_a_row_is_found_by_checkpoint_and_time_step() -> None:
    other = replace(FINE, checkpoint="g", AP=10.0)
    found = EvaluatedRows((SOURCE, CLIP, QC, other, FINE, replace(FINE, t=2, AP=40.0)))
    assert [getattr(found.row(*key), "AP", None) for key in (("f", 4), ("f", 2), ("g", 4), ("f", 3), ("h", 4))] == [
        57.0, 40.0, 10.0, None, None,
    ]  # fmt: skip
    assert EvaluatedRows().row("f", 4) is None


def test_anns_are_those_that_networks_were_made_from() -> None:
    """Others of the very same settings are not."""
    others = [replace(row, checkpoint=f"other {row.checkpoint}", AP=1.0) for row in (SOURCE, CLIP, QC)]
    parents = {"f": "c", "c": "q", "q": "a"}  # "c" was not evaluated itself
    found = EvaluatedRows((*others, SOURCE, CLIP, QC, FINE), "", parents)
    assert found.anns(["f"], "ann") == [SOURCE, CLIP] and found.anns(["f"], "qc") == [QC]
    assert found.anns(["a"], "ann") == [SOURCE] and found.anns(["a"], "qc") == []
    assert found.anns(["f", "other q"], "qc") == [QC]  # one line of a table for two that it calls the same
    assert found.anns(["nothing"], "ann") == []


def test_integers_of_sfa_stand_beside_its_spikes() -> None:
    integers = replace(QC, method="sfa", stage="sfa", finetuned=False, stage1_options="from scratch", checkpoint="s")
    rows = rows_of([measured(method="sfa", stage="copied", finetuned=False, checkpoint="s")], [integers])
    assert [row.network for row in rows] == [
        "ANN",
        "SFA, integers, from scratch",
        *["SFA, spikes, if"] * 2,
    ]


def test_leaks_of_neurons_make_no_other_ann() -> None:
    leaky = replace(measured(), layers=[replace(LAYERS[0], leak_macs=2000), LAYERS[1]])
    assert [row.network for row in rows_of([measured(), leaky], [])].count("ANN") == 1


def test_a_stage_1_of_another_kind_has_a_row_of_its_own() -> None:
    sparse = replace(QC, stage1_options="sparsity 30", checkpoint="s")
    found = EvaluatedRows((QC, sparse), "", {})
    assert found.anns(["q", "s"], "qc") == [QC, sparse]
    assert [row.network for row in rows_of([measured(stage1_options="sparsity 30", checkpoint="s")], [sparse])] == [
        "ANN", "QC-ANN, sparsity 30", *["SNN + coarse + fine, if, sparsity 30"] * 2,
    ]  # fmt: skip


# --- rows -----------------------------------------------------------------------------------------------------------


def test_rows_side_by_side() -> None:
    rows = rows_of([measured()], [SOURCE, CLIP, QC, FINE])
    assert [row.network for row in rows] == [
        "ANN", "clip ANN after Stage I", "QC-ANN", "SNN + coarse + fine, if", "SNN + coarse + fine, if",
    ]  # fmt: skip
    assert [row.AP for row in rows] == [60, 59, 58, 57, 57]
    ann, _, quantized, snn, small = rows
    assert (ann.joules, ann.ratio, ann.macs) == (pytest.approx(101e6 * 4.6e-12), 1, 101_000_000)
    assert quantized.ratio == pytest.approx(0.05) and quantized.ratio_quantized == 1
    assert snn.joules == pytest.approx((1e6 * 4.6 + 40e6 * 0.9) * 1e-12) and snn.macs == 10**6
    assert snn.ratio == pytest.approx(snn.joules / ann.joules)
    assert small.constants == "45 nm, int8" and small.joules == pytest.approx((1e6 * 0.23 + 40e6 * 0.03) * 1e-12)
    assert small.ratio_quantized == pytest.approx(small.joules / quantized.joules)


def test_one_table_of_constants_for_both_makes_each_row_once() -> None:
    rows = rows_of([measured()], [SOURCE, QC, FINE], FLOAT)
    assert [row.network for row in rows] == ["ANN", "QC-ANN", "SNN + coarse + fine, if"]


def test_a_firing_delay_makes_no_other_architecture() -> None:
    late = replace(measured(delay=2), layers=[replace(layer, waits=2 * layer.neurons) for layer in LAYERS])
    assert [row.network for row in rows_of([measured(), late], [], FLOAT)] == [
        "ANN", "quantized ANN", "SNN + coarse + fine, if", "SNN + coarse + fine, if, delay 2",
    ]  # fmt: skip


def test_without_an_evaluation_the_anns_are_there() -> None:
    rows = rows_of([Measured({**FACTS, "stage": "ann"}, 64, LAYERS)], [])
    assert [(row.network, row.AP, row.spent) for row in rows] == [("ANN", None, None), ("quantized ANN", None, None)]


def test_two_input_sizes_are_two_networks() -> None:
    rows = rows_of([measured(), replace(measured(), image_size=96)], [])
    assert [row.image_size for row in rows] == [64] * 4 + [96] * 4


# --- what a penalty on firing buys ---


def with_penalty(options: str | None, sops: float, T: int = 4, **facts: object) -> Measured:
    return measured(T, (T,), (sops,), stage="copied", stage1_options=options, **facts)


def test_a_curve_goes_through_networks_that_differ_in_the_penalty_alone() -> None:
    networks = [
        with_penalty("sparsity 4", 0),
        with_penalty("", 5e6, checkpoint="g"),
        with_penalty("distilled", 5e6),
        with_penalty("", 1, 8),
    ]
    found = sparsity_curves(rows_of(networks, []))
    assert {name: [row.sparsity for row, _ in line] for name, line in found.items()} == {
        "SNN, weights copied, if, T = 4": ["", "sparsity 4"]
    }
    report = made(networks[:2], [SOURCE, replace(FINE, stage="copied", stage1_options="sparsity 4", calibrated=None)])
    says = "Networks that differ in their penalty on firing alone; shares are of the most operations."
    table = energy_markdown(report).partition(f"## Sparsity\n\n{says}\n\n")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == [
        "| SNN, weights copied, if, T = 4 | none | 0.04 ± 0.023 | 100.0 | 10.0 | 8.739 ± 4.5 | - |",
        "| SNN, weights copied, if, T = 4 | sparsity 4 | 0.02 ± 0.028 | 50.0 | 10.0 | 4.864 ± 5.5 | 57.0 (3.0) |",
    ]


def test_one_penalty_makes_no_curve() -> None:
    assert sparsity_curves(rows_of([with_penalty("sparsity 4", 0)] * 2, [])) == {}
    assert "## Sparsity" not in energy_markdown(made([measured()], [SOURCE, FINE]))


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_table_by_time_step() -> None:
    report = made([measured(), measured(8, (8, 2))], [SOURCE, QC, FINE])
    assert short_table(report.rows).splitlines() == [
        "| metric | network | ANN | T = 4 | T = 8, t = 2 | T = 8 |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| AP50:95 (loss) | SNN + coarse + fine, if | 60.0 | 57.0 (3.0) | - | - |",
        "| AP50:95 (loss) | SNN + coarse + fine, if, Stage I T = 4 | 60.0 | - | - | - |",
        "| GSOP (ANN: GMAC) | SNN + coarse + fine, if | 0.101 | 0.04 ± 0.028 | - | - |",
        "| GSOP (ANN: GMAC) | SNN + coarse + fine, if, Stage I T = 4 | 0.101 | - | 0.02 ± 0.014 | 0.08 ± 0.057 |",
        "| mJ | SNN + coarse + fine, if | 0.4646 | 0.0406 ± 0.025 | - | - |",
        "| mJ | SNN + coarse + fine, if, Stage I T = 4 | 0.4646 | - | 0.0226 ± 0.013 | 0.0766 ± 0.051 |",
        "| of the ANN, % | SNN + coarse + fine, if | 100 | 8.739 ± 5.5 | - | - |",
        "| of the ANN, % | SNN + coarse + fine, if, Stage I T = 4 | 100 | - | 4.864 ± 2.7 | 16.49 ± 11 |",
    ]


def test_the_whole_table() -> None:
    head, _, ann, quantized, snn, small = energy_table(made([measured()], [SOURCE, QC, FINE])).splitlines()
    assert head.endswith("| of the quantized ANN, % | mJ, image in every step |") and "model" not in head
    assert ann == "| ANN | 45 nm, float32 | - | - | - | 60.0 | - | 0.101 | - | - | 0.4646 | 100 | 2000 | - |"
    assert quantized.startswith("| QC-ANN | 45 nm, int8 | 4 | - | - | 58.0 | 2.0 [1.0, 3.0] |")
    assert snn == (
        "| SNN + coarse + fine, if | 45 nm, float32 | 4 | 4 | 4 | 57.0 | 3.0 [1.0, 3.0] | 0.001 "
        "| 0.04 ± 0.028 | 10.0 | 0.0406 ± 0.025 | 8.739 ± 5.5 | 174.8 | 0.0544 |"
    )
    assert "45 nm, int8" in small


def test_memory_traffic_is_said() -> None:
    text = energy_markdown(replace(made([measured()], []), memory_traffic=True))
    assert "Memory traffic is in these figures" in text and "5 pJ an access. Horowitz" in text


def test_what_is_not_counted_is_said() -> None:
    text = energy_markdown(made([measured()], [SOURCE]))
    assert "tiny at 64 px on d val (2 images); per image, mean ± standard deviation" in text
    assert "Memory traffic is not in these figures" in text and "It is counted once, as the simulator" in text
    assert "45 nm, float32: 4.6 pJ a MAC, 0.9 pJ a SOP. Horowitz, ISSCC 2014" in text
    assert "## SNN + coarse + fine, if, by layer" in text


def test_anns_alone_have_no_spiking_tables() -> None:
    text = energy_markdown(made([Measured({**FACTS, "stage": "ann"}, 64, LAYERS)], []))
    assert "by layer" not in text and "metric" not in text and "images" not in text and "| ANN |" in text


def test_the_table_by_layer_shows_at_most_eight_steps() -> None:
    layers = measured(20, (20,)).layer_costs()
    head, _, stem, out = layer_table(layers).splitlines()
    assert head.count("MSOP, step") == 8 and "step 1 |" in head and "step 20 |" in head
    assert stem.startswith("| stem | 1,000 | 1.00 | 1.00 | 0.00 ± 0 | 0.000 | 2,000 | 10.0 | 0.00 |")
    assert out.startswith("| out | 0 | 100.00 | 0.00 | 200.00 ± 1.4e+02 | 2.000 | 0 | - | 10.00 |")
    one = measured(1, (1,)).layer_costs()
    assert layer_table(one).splitlines()[0].count("MSOP, step") == 1


def test_analog_currents_are_macs_of_every_step_and_said_so() -> None:
    """Half of the read-out's operations: 50 million MACs a step beside one million on the image."""
    spiking = measured()
    layers = [LAYERS[0], replace(LAYERS[1], analog_macs=5 * 10**7)]
    analog = replace(measured(linear="analog"), layers=layers)
    report = made([spiking, analog], [])
    first, second = (row for row in report.rows if row.t == 4 and row.constants == FLOAT.constants.name)
    assert (first.network, first.macs) == ("SNN + coarse + fine, if", 10**6)
    assert (second.network, second.macs) == (
        "SNN + coarse + fine, if, linear layers without neurons",
        10**6 + 4 * 5 * 10**7,
    )
    assert second.joules - first.joules == pytest.approx(2e8 * FLOAT.constants.mac_pj * 1e-12)
    assert sum(row.network == "ANN" for row in report.rows) == 1  # one ANN for both
    text = energy_markdown(report)
    assert "are analog currents: their operations" in text and "are folded" not in text
    folded = replace(analog, layers=[LAYERS[0], replace(LAYERS[1], macs_inside=0)])
    assert "are folded" in energy_markdown(made([folded], []))
    assert "MMAC, analog, each step" in layer_table(analog.layer_costs()).splitlines()[0]
    assert "| out | 0 | 100.00 | 0.00 | 50.00 |" in layer_table(analog.layer_costs())
    assert "analog" not in energy_markdown(made([spiking], []))


# --- plots ----------------------------------------------------------------------------------------------------------


def test_lines_go_through_own_read_outs_and_through_early_ones() -> None:
    report = made([measured(), measured(8, (8,), stage1_T=8), measured(20, (2, 20), stage1_T=20)], [])
    found = {label: [row.t for row in rows] for label, rows in lines(report.rows).items()}
    assert found["SNN + coarse + fine, if, 45 nm, float32"] == [4, 8]
    assert found["SNN + coarse + fine, if, T = 20, 45 nm, float32"] == [2, 20]


@pytest.mark.slow
@pytest.mark.parametrize("evaluated", [[], [SOURCE, QC, FINE]], ids=["no AP", "AP"])
def test_plots_are_images(evaluated: list[ResultRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "DPI", 40)
    both = made([with_penalty("", 1), with_penalty("sparsity 4", 0)], evaluated)
    names = ["energy.png", "energy_by_layer.png", "energy_sparsity.png"]
    assert [path.name for path in plot_energy(both, tmp_path)] == names
    paths = plot_energy(made([measured(), measured(20, (2, 20))], evaluated), tmp_path)
    assert paths == sorted(tmp_path.iterdir()) == [tmp_path / name for name in names[:2]]
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG" and image.width >= 300


def test_anns_alone_have_one_plot(tmp_path: Path, unrendered_plots: None) -> None:
    report = made([Measured({**FACTS, "stage": "ann"}, 64, LAYERS)], [])
    assert [path.name for path in plot_energy(report, tmp_path)] == ["energy.png"]

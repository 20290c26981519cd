"""Tables with T across, beside the paper's, and over seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import readme_tables
from tables import (
    exit_table,
    export_speed_table,
    export_table,
    fuzz_table,
    joules_by_checkpoint,
    models_table,
    names_of,
    network_name,
    pivot,
    pools_table,
    scaling_table,
    seeds_table,
    short,
    versus_paper,
)

from spikedet.evaluation import ResultRow

ANN = ResultRow(model="m", stage="ann", finetuned=False, data="d", split="s", images=9, seed=0, AP=60.04, AP50=80.0)
COPIED = replace(
    ANN, stage="copied", finetuned=True, neuron="if", delay=0, T=8, t=8, L=8, AP=40.0, AP50=60.0, loss=20.0
)
FINE = replace(COPIED, stage="fine", AP=58.0, loss=2.0)
EARLY = replace(FINE, t=4, AP=1.0)
AT_20 = replace(FINE, T=20, t=20, L=20, AP=59.0, loss=1.0)
BASELINE = replace(COPIED, method="channel-norm", finetuned=False, T=60, t=8, AP=2.0, AP50=4.0)
FEW = replace(AT_20, images=3)
WAITING = replace(FINE, latency=16, L=16, AP=59.5)


def test_names() -> None:
    rows = [ANN, COPIED, FINE, replace(FINE, finetuned=False), replace(COPIED, finetuned=False), BASELINE]
    assert [network_name(row) for row in rows] == [
        "ANN", "Stage I", "Stage I + Stage II", "Stage II", "weights copied", "Spiking-YOLO baseline (channel norm)",
    ]  # fmt: skip
    assert network_name(replace(FINE, stage="coarse", neuron="signed", delay=2)) == (
        "Stage I + Stage II, coarse only, signed IF, delay 2"
    )


def test_layers_that_wait_for_a_latency_make_another_network() -> None:
    assert network_name(WAITING) == "Stage I + Stage II, latency 16"
    assert pivot([ANN, FINE, WAITING]).splitlines()[5:] == [
        "| Stage I + Stage II | 58.0 / 60.0 |",
        "| Stage I + Stage II, latency 16 | 59.5 / 60.0 |",
    ]
    assert "| SNN + coarse + fine | if, latency 16 | 8 |" in models_table([WAITING]).replace("| m ", "")
    assert "| Stage I + Stage II, latency 16 | 8 | 1 |" in seeds_table([FINE, WAITING])


def test_the_short_table_has_each_network_after_its_last_calibration() -> None:
    waits = replace(COPIED, delay=8, L=224, AP=55.0, loss=5.0)
    signed = replace(COPIED, neuron="signed", AP=57.0, loss=3.0)
    others = [replace(AT_20, method="sfa", D=4), replace(AT_20, delay=2, L=30), replace(signed, stage="coarse"), FINE]
    rows = [ANN, AT_20, replace(AT_20, stage="copied", AP=1.0), signed, waits, *others, WAITING, BASELINE, FEW, EARLY]
    assert short(rows).splitlines()[2:] == [
        "| ANN | - | - | 60.0 | 80.0 | - |",
        "| plain IF, all layers wait | 8 | 224 | 55.0 | 60.0 | 5.0 |",
        "| signed IF | 8 | 8 | 57.0 | 60.0 | 3.0 |",
        "| plain IF | 20 | 20 | 59.0 | 60.0 | 1.0 |",
    ]


def test_time_steps_stand_across_and_early_read_outs_are_left_out() -> None:
    assert pivot([ANN, COPIED, FINE, EARLY, AT_20, BASELINE]).splitlines() == [
        "m on d s (9 images), AP50:95 / AP50 in %.",
        "",
        "| network | T = 8 | T = 20 |",
        "| --- | ---: | ---: |",
        "| ANN | 60.0 / 80.0 | 60.0 / 80.0 |",
        "| Stage I | 40.0 / 60.0 | - |",
        "| Stage I + Stage II | 58.0 / 60.0 | 59.0 / 60.0 |",
        "| Spiking-YOLO baseline (channel norm) | 2.0 / 4.0 | - |",
    ]


def test_networks_that_were_trained_otherwise_stand_apart() -> None:
    sfa = replace(COPIED, method="sfa", finetuned=False, D=4, T=4, t=4, L=60, delay=4, AP=50.0, stage1_options="")
    clif = replace(COPIED, method="clif", finetuned=False, neuron="clif", AP=30.0, stage1_options="distilled")
    rows = [sfa, replace(sfa, AP=45.0, stage1_options="from scratch"), clif, replace(clif, AP=20.0, stage1_options="")]
    assert pivot(rows).splitlines()[4:] == [
        "| SFA, T x D = 1 x 4, delay 4 | 50.0 / 60.0 | - |",
        "| SFA, T x D = 1 x 4, delay 4 (from scratch) | 45.0 / 60.0 | - |",
        "| C-LIF (distilled) | - | 30.0 / 60.0 |",
        "| C-LIF | - | 20.0 / 60.0 |",
    ]
    assert [line.split(" | ")[2] for line in seeds_table(rows).splitlines()[2:]] == ["1"] * 4
    assert network_name(replace(clif, stage="clif", neuron=None)) == "C-LIF, trained"
    sources = [ANN, replace(ANN, stage1_options="from scratch")]
    assert names_of(sources) == ["ANN", "ANN (from scratch)"]
    assert names_of(sources[1:]) == ["ANN"]


def test_the_narrow_table_has_the_rows_of_the_whole_one_and_five_columns() -> None:
    rows = [ANN, COPIED, FINE, EARLY]
    assert len(readme_tables.FORMS[""](rows).splitlines()) == 7
    assert readme_tables.FORMS["narrow"](rows).splitlines()[2:] == [
        "| network | T | AP50:95 | AP50 | loss [95 % interval] |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| ANN | - | 60.0 | 80.0 | - |",
        "| SNN, weights copied | 8 | 40.0 | 60.0 | 20.0 |",
        "| SNN + coarse + fine | 8 | 58.0 | 60.0 | 2.0 |",
    ]


def test_fewer_images_are_a_table_of_their_own() -> None:
    assert "(9 images)" in pivot([ANN, FINE, FEW]) and "(3 images)" in pivot([ANN, FINE, FEW])


def test_beside_the_paper() -> None:
    paper = [
        {"network": "Stage I", "T": 8, "AP": 1.0, "AP50": 2.0},
        {"network": "Stage II", "T": 8, "AP": 3, "AP50": 4},
    ]
    assert versus_paper([ANN, COPIED, FINE], paper).splitlines()[2:] == [
        "| Stage I | 8 | 1.0 | 2.0 | 40.0 | 60.0 |",
        "| Stage II | 8 | 3 | 4 | - | - |",
    ]


def test_mean_and_spread_over_seeds() -> None:
    rows = [
        ANN,
        replace(FINE, spikes_per_image=1.5e6),
        replace(FINE, seed=1, AP=60.0, loss=0.0, spikes_per_image=0.5e6),
        replace(FINE, seed=2, AP=59.0, loss=1.0, spikes_per_image=1e6),
        EARLY,
        COPIED,
    ]
    assert seeds_table(rows).splitlines()[2:] == [
        "| Stage I + Stage II | 8 | 3 | 8 | 1.00 M | 59.0 ± 1.0 | 60.0 ± 0.0 | 1.0 ± 1.0 |",
        "| Stage I | 8 | 1 | 8 | - | 40.0 | 60.0 | 20.0 |",
    ]
    sources = [ANN, replace(ANN, seed=1, AP=62.04)]
    assert seeds_table([*sources, FINE]).splitlines()[2] == "| ANN | - | 2 | - | - | 61.0 ± 1.4 | 80.0 ± 0.0 | - |"


def test_what_networks_over_seeds_cost() -> None:
    report = {
        "meta": {"checkpoints": {"a/fine": "a", "b/copied": "b"}},
        "rows": [
            {"constants": constants, "spent": spent, "joules": joules * factor}
            for constants, factor in (("45 nm", 1.0), ("45 nm, int8", 0.1))
            for spent, joules in ((None, 5e-3), ({"adds": 1}, 2e-3), ({"adds": 1}, 1e-3))
        ],
    }
    joules = joules_by_checkpoint(report)
    assert joules == {"a": 2e-3, "b": 1e-3}
    rows = [ANN, replace(FINE, checkpoint="a"), replace(COPIED, checkpoint="b")]
    assert seeds_table(rows, joules, {"a": 90.0}).splitlines() == [
        "| network | T | seeds | L | spikes per image | AP50:95 | AP50 | loss | mJ per image | training, min |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| Stage I + Stage II | 8 | 1 | 8 | - | 58.0 | 60.0 | 2.0 | 2.0 | 1.5 |",
        "| Stage I | 8 | 1 | 8 | - | 40.0 | 60.0 | 20.0 | 1.0 | - |",
    ]


def test_networks_of_one_model_stand_together() -> None:
    leaky = replace(ANN, activation="leaky", AP=50.0)
    spiking = replace(FINE, spikes_per_image=1.5e6, loss_ci95=(1.0, 3.04))
    assert models_table([ANN, leaky, spiking, EARLY]).splitlines() == [
        "d s (9 images), converted for T and read at T, AP in %.",
        "",
        "| model | network | neuron | T | spikes per image | AP50:95 | AP50 | loss [95 % interval] |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| m | ANN | - | - | - | 60.0 | 80.0 | - |",
        "| m | SNN + coarse + fine | if | 8 | 1.50 M | 58.0 | 60.0 | 2.0 [1.0, 3.0] |",
        "| m, leaky | ANN | - | - | - | 50.0 | 80.0 | - |",
    ]


def test_rules_for_maxima() -> None:
    rows = [replace(FINE, max_pool=rule) for rule in ("count", "or")]
    assert pools_table([ANN, *rows]).splitlines()[4:] == [
        "| ANN | - | - | - | 60.0 | 80.0 | - |",
        "| SNN + coarse + fine | count | 8 | - | 58.0 | 60.0 | 2.0 |",
        "| SNN + coarse + fine | or | 8 | - | 58.0 | 60.0 | 2.0 |",
    ]


def test_outcomes_of_broken_files() -> None:
    rows = [
        {"file": "image", "outcomes": {"success": 2, "DataError": 1}},
        {"file": "state", "outcomes": {"CheckpointError": 3}},
    ]
    assert fuzz_table(rows).splitlines() == [
        "| file | cases | CheckpointError | DataError | success |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| image | 3 | 0 | 1 | 2 |",
        "| state | 3 | 3 | 0 | 0 |",
        "| all | 6 | 3 | 1 | 2 |",
    ]


def test_several_processes_beside_one() -> None:
    one = {"command": "train", "processes": 1, "threads": 2, "seconds": 3.0, "result": "AP50:95 1.0"}
    rows = [one, {**one, "processes": 2, "threads": 1, "seconds": 2.0}, {**one, "command": "evaluate"}]
    assert scaling_table(rows).splitlines()[2:] == [
        "| train | 1 x 2 | 3.0 | 1.00 | AP50:95 1.0 |",
        "| train | 2 x 1 | 2.0 | 1.50 | AP50:95 1.0 |",
        "| evaluate | 1 x 2 | 3.0 | 1.00 | AP50:95 1.0 |",
    ]


def test_exports_beside_their_networks() -> None:
    found = {"boxes_px": 0.00012, "scores": 1e-7, "mean_score": 0.0, "spikes": 0, "detections": None}
    row = {"network": "a", "stage": "fine", "format": "onnx", "seconds": 1.25, "megabytes": 4.72}
    full = {**row, "difference": found, "network_AP": 20.04, "AP": None}
    refused = {**row, "format": "nir", "refused": "model.0: no a|b"}
    assert export_table({"rows": [full, refused]}).splitlines()[2:] == [
        "| a | fine | onnx | 0.00012 | 1e-07 | 0 | 20.0 | - | 4.7 | 1.2 |",
        "| a | fine | nir | refused: model.0: no a/b | - | - | - | - | - | - |",
    ]
    speed = {"meta": {"threads": 2}, "speed": [{"contender": "ANN", "T": 0, "ms": 3.14}]}
    assert export_speed_table(speed).splitlines()[0] == "tiny-yolo, one image, 2 threads, medians."
    assert export_speed_table(speed).splitlines()[-1] == "| ANN | - | 3.1 |"


def test_a_mark_shows_an_energy_reports_first_table_or_that_of_penalties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readme_tables, "ROOT", tmp_path)
    results = tmp_path / "docs" / "results"
    results.mkdir(parents=True)
    (results / "energy_x.json").write_text("{}", encoding="utf-8")
    text = "# Energy\n\nFirst.\n\n| a |\n| --- |\n\n## Sparsity\n\nCurves.\n\n| b |\n| --- |\n\n## By layer\n\n| c |\n"
    (results / "energy_x.md").write_text(text, encoding="utf-8")
    assert readme_tables.published_table("energy_x") == "First.\n\n| a |\n| --- |"
    assert readme_tables.published_table("energy_x-sparsity") == "Curves.\n\n| b |\n| --- |"
    assert readme_tables.published_table("energy_y-sparsity") == ""


def test_when_images_are_left() -> None:
    facts = {"AP": 41.04, "AP50": 60.0, "mean_t": 2.25}
    rows = [{"t": 3, "steps": 0, "score": 1.0, **facts}, {"t": 8, "steps": 1, "score": 1.0, **facts}]
    assert exit_table([*rows, {"t": 8, "steps": 2, "score": 0.1, **facts}]).splitlines()[2:] == [
        "| at t = 3 | 2.2 | 41.0 | 60.0 |",
        "| boxes the same for 1 step | 2.2 | 41.0 | 60.0 |",
        "| boxes the same, scores within 0.1 for 2 steps | 2.2 | 41.0 | 60.0 |",
    ]


def test_the_clip_anns_of_several_stage_1_runs_stand_at_their_own_t() -> None:
    clip = replace(ANN, finetuned=True, stage1_T=8, AP=55.0, stage1_options="2 copies")
    other = replace(clip, stage1_T=4, AP=50.0, stage1_options="4 copies")
    at_4 = replace(COPIED, T=4, t=4, L=4, AP=30.0, stage1_T=4, stage1_options="4 copies")
    rows = [ANN, clip, other, replace(COPIED, stage1_T=8, stage1_options="2 copies"), at_4]
    assert pivot(rows).splitlines()[2:] == [
        "| network | T = 4 | T = 8 |",
        "| --- | ---: | ---: |",
        "| ANN | 60.0 / 80.0 | 60.0 / 80.0 |",
        "| clip ANN after Stage I | 50.0 / 80.0 | 55.0 / 80.0 |",
        "| Stage I | 30.0 / 60.0 | 40.0 / 60.0 |",
    ]

"""results.json there and back, and the tables."""

import json
from dataclasses import replace

import pytest

from spikedet.common.errors import DataError
from spikedet.evaluation import ResultRow, markdown_table, measure, read_results, write_results

ANN = ResultRow(model="yolov3-tiny", stage="ann", finetuned=False, data="BCCD", split="test", images=72, seed=0, AP=60)
SNN = replace(
    ANN,
    stage="fine",
    finetuned=True,
    neuron="if",
    delay=0,
    T=8,
    t=8,
    L=8,
    spikes_per_image=1234567.89,
    AP=59.123456,
    AP50=88.88,
    loss=-0.04,
    loss_ci95=(-0.51234567, 1.26),
)
EARLY = replace(SNN, t=4, AP=41.0)


def test_no_rows(tmp_path):
    path = write_results(tmp_path / "new" / "results.json", {}, [])
    assert read_results(path) == ({}, [])
    assert markdown_table([]) == ""


def test_there_and_back_to_four_decimals(tmp_path):
    row = replace(SNN, per_class={"WBC": {"AP": 12.345678, "VOC07": None}})
    path = write_results(tmp_path / "results.json", {"seed": 0, "config": {"T": 8}}, [ANN, row])
    meta, (ann, snn) = read_results(path)
    assert meta == {"seed": 0, "config": {"T": 8}} and ann == ANN
    assert snn == replace(row, AP=59.1235, loss_ci95=(-0.5123, 1.26), per_class={"WBC": {"AP": 12.3457, "VOC07": None}})


def test_a_latency_that_was_asked_for_is_kept_and_may_be_missing(tmp_path):
    path = write_results(tmp_path / "results.json", {}, [SNN, replace(SNN, latency=16)])
    plain, waiting = json.loads(path.read_text())["rows"]
    assert "latency" not in plain and waiting["latency"] == 16
    assert [row.latency for row in read_results(path)[1]] == [None, 16]


def test_the_keys_of_the_file(tmp_path):
    path = write_results(tmp_path / "results.json", {}, [SNN])
    assert " ".join(json.loads(path.read_text())["rows"][0]) == (
        "method model stage finetuned neuron delay T t L spikes_per_image data split images seed "
        "AP AP50 AP75 AP_S AP_M AP_L VOC07 VOC_area loss loss_ci95"
    )


def test_a_row_takes_all_measures(hand_made):
    measures = measure(*hand_made([[((0, 0, 9, 9), 0, False)]], [[]]))
    row = ResultRow(model="m", stage="ann", finetuned=False, data="d", split="s", images=1, seed=0, **vars(measures))
    assert (row.AP, row.AP_L, row.per_class) == (0, None, measures.per_class)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "middle"}, r"rows\[0\]\.stage: invalid enum value 'middle'"),
        ({"neuron": "lif"}, r"rows\[0\]\.neuron: invalid enum value 'lif'"),
        ({"finetuned": "yes"}, r"rows\[0\]\.finetuned: expected bool, got str"),
        ({"t": 9}, r"rows\[0\]: t must not exceed T, got t=9 and T=8"),
        ({"T": 0}, r"rows\[0\]\.T: expected int >= 1"),
        ({"AP": "60"}, r"rows\[0\]\.AP: expected float \| null, got str"),
        ({"loss_ci95": [1]}, r"rows\[0\]\.loss_ci95: expected array of length 2"),
    ],
)
def test_an_invalid_value_names_the_file(tmp_path, change, message):
    path = write_results(tmp_path / "results.json", {}, [SNN])
    content = json.loads(path.read_text())
    content["rows"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        read_results(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_key_names_the_file(tmp_path):
    path = write_results(tmp_path / "results.json", {}, [SNN])
    content = json.loads(path.read_text())
    del content["rows"][0]["images"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"rows\[0\]: object missing required field images"):
        read_results(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Input data was truncated"),
        ("[]", "expected object, got array"),
        ('{"meta": {}}', "object missing required field rows"),
        ('{"meta": {}, "rows": [3]}', r"rows\[0\]: expected object, got int"),
    ],
)
def test_a_foreign_file_is_named(tmp_path, text, message):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_results(path)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: the results cannot be read"):
        read_results(tmp_path / "gone.json")


def test_the_two_tables():
    table = markdown_table([ANN, SNN, EARLY])
    full, early = table.split("Converted for T, read out early at t < T.")
    assert full.startswith(
        "Converted for T and read at T. yolov3-tiny on BCCD test (72 images), method two-stage, seed 0; "
        "AP in percent.\n\n| network"
    )
    lines = [line for line in full.splitlines() if line.startswith("|")]
    assert lines[0] == (
        "| network | Stage I | neuron | delay | T | t | L | spikes per image | AP50:95 | AP50 | AP75 | AP_S | AP_M "
        "| AP_L | VOC07 | loss [95 %] |"
    )
    assert lines[2] == "| ANN | no | - | - | - | - | - | - | 60.0 | - | - | - | - | - | - | - |"
    assert lines[3] == (
        "| SNN + coarse + fine | yes | if | 0 | 8 | 8 | 8 | 1,234,567.9 | 59.1 | 88.9 | - | - | - | - | - "
        "| 0.0 [-0.5, 1.3] |"
    )
    assert len(lines) == 4 and "| 8 | 4 | 8 |" in early and "60.0" not in early


def test_one_table_where_only_one_exists():
    assert "read out early" not in markdown_table([ANN, SNN])
    assert markdown_table([EARLY]).startswith("Converted for T, read out early at t < T.")


def test_rows_are_told_apart_by_what_was_trained_and_on_how_many_images():
    both = [replace(SNN, calibrated="W"), replace(SNN, calibrated="u[0]")]
    lines = markdown_table([ANN, *both]).splitlines()[2:]
    assert lines[0].startswith("| network | Stage I | neuron | trained | delay |")
    assert [line.split(" | ")[3] for line in lines[2:]] == ["-", "W", "u[0]"]
    few = [replace(SNN, calibration_images=2), replace(SNN, calibration_images=4)]
    lines = markdown_table(few).splitlines()[2:]
    assert lines[0].startswith("| network | Stage I | neuron | calibration images | delay |")
    assert [line.split(" | ")[3] for line in lines[2:]] == ["2", "4"]
    at_each_t = [replace(SNN, calibrated="W"), replace(SNN, calibrated="u[0]", T=4, t=4, L=4)]
    assert "trained" not in markdown_table(at_each_t)


def test_layers_that_wait_for_a_latency_have_a_column():
    lines = markdown_table([SNN, replace(SNN, latency=16, L=16)]).splitlines()[2:]
    assert lines[0].startswith("| network | Stage I | neuron | latency asked for | delay |")
    assert [line.split(" | ")[3] for line in lines[2:]] == ["-", "16"]


def test_models_get_tables_of_their_own():
    table = markdown_table([ANN, replace(ANN, model="yolov8n")])
    assert table.count("read at T. yolov3-tiny on") == table.count("read at T. yolov8n on") == 1


@pytest.mark.parametrize(
    ("stage", "finetuned", "network"),
    [
        ("ann", False, "ANN"),
        ("ann", True, "clip ANN after Stage I"),
        ("qc", True, "QC-ANN"),
        ("copied", False, "SNN, weights copied"),
        ("coarse", True, "SNN + coarse"),
        ("fine", True, "SNN + coarse + fine"),
    ],
)
def test_network_names(stage, finetuned, network):
    assert replace(ANN, stage=stage, finetuned=finetuned).network == network


def test_networks_of_other_methods_are_called_by_them():
    sfa = replace(SNN, method="sfa", stage="copied", finetuned=False, stage1_options="from scratch")
    assert [sfa.network, replace(sfa, stage1_options="").network] == ["SFA, spikes, from scratch", "SFA, spikes"]
    clif = replace(sfa, method="clif", stage1_options="fine-tuned, distilled")
    assert clif.network == "C-LIF, spikes, fine-tuned, distilled"
    assert replace(clif, stage="clif").network == "C-LIF, trained, fine-tuned, distilled"


def test_networks_without_stage_1_say_that_they_had_no_weights_to_start_from():
    assert replace(ANN, stage1_options="from scratch").network == "ANN, from scratch"
    assert replace(ANN, finetuned=True, stage1_options="distilled").network == "clip ANN after Stage I"


def test_rows_are_printed_in_one_line_each():
    assert repr(ANN) == "<ANN: AP50:95 60.0 on BCCD test>"
    assert repr(replace(SNN, delay=2, latency=16)).startswith("<SNN + coarse + fine, if, delay 2, latency 16 at T = 8:")
    assert repr(EARLY) == "<SNN + coarse + fine, if at t = 4 of T = 8: AP50:95 41.0, loss 0.0 on BCCD test>"

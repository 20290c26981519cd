"""What the ablations' images show."""

from dataclasses import replace

from ablations import (
    ann_levels,
    frontier,
    images_lines,
    kind_name,
    part_name,
    plot_ap_by_images,
    plot_frontier,
    plot_parts,
)
from PIL import Image

from spikedet.evaluation import ResultRow
from spikedet.visualization.curves import class_aps, plot_ap_by_class

ANN = ResultRow(
    model="m", stage="ann", finetuned=False, data="d", split="s", images=9, seed=0, AP=60.0,
    per_class={"cat": {"AP": 50.0}, "dog": {"AP": 70.0}, "cow": {"AP": None}},
)  # fmt: skip
COPIED = replace(ANN, stage="copied", finetuned=True, neuron="if", delay=0, T=8, t=8, L=8, AP=40.0)
COARSE = replace(COPIED, stage="coarse", calibration_images=16, AP=45.0)
FINE = replace(COARSE, stage="fine", calibrated="W, u[0]", AP=55.0)
MORE = replace(FINE, calibration_images=128, AP=58.0)
WEIGHTS = replace(FINE, calibrated="W", AP=54.0)
EARLY = replace(FINE, t=2, AP=3.0)


def test_lines_begin_at_the_copied_weights():
    assert images_lines([ANN, COPIED, MORE, COARSE, FINE, EARLY]) == {
        "SNN + coarse, T = 8, if": [(0, 40.0), (16, 45.0)],
        "SNN + coarse + fine, T = 8, if": [(0, 40.0), (16, 55.0), (128, 58.0)],
    }
    assert images_lines([ANN, FINE]) == {"SNN + coarse + fine, T = 8, if": [(16, 55.0)]}


def test_networks_whose_layers_wait_are_networks_of_their_own():
    waiting = [replace(row, latency=16, L=16, AP=row.AP + 1) for row in (COPIED, FINE)]
    assert images_lines([COPIED, FINE, *waiting]) == {
        "SNN + coarse + fine, T = 8, if": [(0, 40.0), (16, 55.0)],
        "SNN + coarse + fine, T = 8, if, latency 16": [(0, 41.0), (16, 56.0)],
    }
    kinds = [kind_name(row) for row in (FINE, waiting[1], replace(FINE, delay=2))]
    assert kinds == ["IF, no delay", "IF, some layers waiting", "IF, waiting"]
    seen = class_aps([replace(row, per_class={"cat": {"AP": row.AP}}) for row in (FINE, waiting[1])])
    assert seen == {
        "SNN + coarse + fine, T = 8, if": {"cat": 55.0},
        "SNN + coarse + fine, T = 8, if, latency 16": {"cat": 56.0},
    }


def test_parts_have_names():
    names = [part_name(row) for row in (COPIED, COARSE, FINE, WEIGHTS)]
    assert names == ["weights copied", "coarse", "coarse, fine: W, u[0]", "coarse, fine: W"]


def test_of_stage_1_runs_that_follow_each_other_the_last_counts():
    clips = [replace(ANN, finetuned=True, AP=ap) for ap in (61.0, 62.0)]
    assert ann_levels([ANN, replace(ANN, AP=None), *clips]) == {"ANN": 60, "clip ANN after Stage I": 62.0}


def test_classes_have_a_mark_for_each_network():
    clip = replace(ANN, finetuned=True, per_class={"cat": {"AP": 49.0}})
    last = replace(clip, stage1_options="distilled", per_class={"cat": {"AP": 50.5}})
    assert class_aps([ANN, clip, replace(clip, stage="qc"), last, MORE, EARLY]) == {
        "ANN": {"cat": 50.0, "dog": 70.0, "cow": None},
        "clip ANN after Stage I": {"cat": 50.5},
        "SNN + coarse + fine, T = 8, if": {"cat": 50.0, "dog": 70.0, "cow": None},
    }


def test_the_frontier_has_what_nothing_beats_for_less():
    assert frontier([(8, 40.0), (4, 30.0), (8, 41.0), (16, 41.0), (32, 45.0)]) == [(4, 30.0), (8, 41.0), (32, 45.0)]
    assert frontier([]) == []


def test_every_image_is_a_png_also_of_nothing(tmp_path):
    for number, plot in enumerate((plot_ap_by_images, plot_parts, plot_ap_by_class, plot_frontier)):
        for rows in ([], [ANN, COPIED, COARSE, FINE, MORE, WEIGHTS, EARLY]):
            with Image.open(plot(rows, tmp_path / f"{number}-{len(rows)}.png")) as image:
                assert image.format == "PNG"

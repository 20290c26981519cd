"""The curves' lines, and the image file."""

import sys
from dataclasses import replace

from PIL import Image

from spikedet.evaluation import ResultRow
from spikedet.visualization.curves import ann_levels, ap_lines, plot_ap_by_t

ANN = ResultRow(model="yolov3-tiny", stage="ann", finetuned=False, data="BCCD", split="test", images=72, seed=0, AP=60)
AT_4 = replace(ANN, stage="fine", finetuned=True, neuron="if", delay=0, T=4, t=4, L=4, AP=50.0)
AT_8 = replace(AT_4, T=8, t=8, L=8, AP=58.0)
EARLY = replace(AT_8, t=2, AP=20.0)


def test_no_rows(tmp_path):
    assert plot_ap_by_t([], tmp_path / "ap.png").stat().st_size > 0
    assert ann_levels([]) == [] and ap_lines([]) == {}


def test_the_image_is_a_png_of_150_dpi(tmp_path):
    path = plot_ap_by_t([ANN, AT_8, AT_4, EARLY], tmp_path / "new" / "ap.png")
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == (1200, 750)
        assert round(image.info["dpi"][0]) == 150
    assert [file.name for file in path.parent.iterdir()] == ["ap.png"]


def test_pyplot_stays_unused(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_ap_by_t([ANN, AT_8], tmp_path / "ap.png")
    assert "matplotlib.pyplot" not in sys.modules


def test_lines_at_full_window_and_early():
    lines = ap_lines([ANN, AT_8, AT_4, EARLY])
    name = "SNN + coarse + fine, Stage I, if"
    assert lines == {f"{name}, t = T": [(4, 50.0), (8, 58.0)], f"{name}, T = 8": [(2, 20.0), (8, 58.0)]}


def test_a_quantized_ann_stands_at_its_window():
    qc = replace(ANN, stage="qc", finetuned=True, T=8, AP=59.0)
    assert ap_lines([qc]) == {"QC-ANN, Stage I, t = T": [(8, 59.0)]}


def test_neurons_delays_and_seeds_have_lines_of_their_own():
    rows = [AT_8, replace(AT_8, neuron="signed"), replace(AT_8, delay=2), replace(AT_8, seed=1)]
    assert len(ap_lines(rows)) == 4


def test_what_is_usual_goes_without_saying():
    rows = [AT_8, replace(AT_8, method="channel-norm"), replace(AT_8, images=AT_8.images - 1)]
    name = "SNN + coarse + fine, Stage I, if, t = T"
    assert list(ap_lines(rows)) == [name, f"{name} (method channel-norm)", f"{name} (images {AT_8.images - 1})"]


def test_of_stage_1_runs_that_follow_each_other_the_last_counts():
    clips = [replace(ANN, finetuned=True, AP=ap) for ap in (61.0, 62.0)]
    assert ann_levels(clips) == [("clip ANN after Stage I", 62.0)]


def test_anns_are_levels_and_rows_without_ap_are_left_out():
    clip = replace(ANN, finetuned=True, AP=61.0)
    assert ann_levels([ANN, clip, replace(ANN, AP=None)]) == [("ANN", 60), ("clip ANN after Stage I", 61.0)]
    assert ap_lines([ANN, replace(AT_8, AP=None)]) == {}

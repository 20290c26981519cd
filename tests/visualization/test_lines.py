"""Which lines a plot of AP by t has, what they are called, and in which colours."""

from __future__ import annotations

from dataclasses import replace

from spikedet.evaluation import ResultRow
from spikedet.visualization.figure import BASELINE, COLOURS
from spikedet.visualization.lines import MOST, Line, chosen_lines

ANN = ResultRow(model="yolov3-tiny", stage="ann", finetuned=False, data="BCCD", split="test", images=72, seed=0, AP=60)
AT_4 = replace(ANN, stage="fine", finetuned=True, neuron="if", delay=0, T=4, t=4, L=4, AP=50.0)
AT_8 = replace(AT_4, T=8, t=8, L=8, AP=58.0)
EARLY = replace(AT_8, t=2, AP=20.0)


def labels(*rows: ResultRow) -> list[str]:
    return [line.label for line in chosen_lines(rows)[0]]


def points(line: Line) -> list[tuple[int, float]]:
    return [(t, ap) for t, ap, _, _ in line.points]


def test_no_rows_no_lines() -> None:
    assert chosen_lines([]) == ([], 0)
    assert chosen_lines([replace(ANN, AP=None), replace(AT_8, AP=None)]) == ([], 0)


def test_lines_at_full_window_and_early() -> None:
    (ann, whole, early), left_out = chosen_lines([ANN, AT_8, AT_4, EARLY])
    assert (points(ann), points(whole), points(early)) == ([(0, 60)], [(4, 50), (8, 58)], [(2, 20), (8, 58)])
    assert (whole.early, early.early, left_out) == (False, True, 0)
    assert [ann.label, whole.label, early.label] == ["ANN", "SNN + coarse + fine", "SNN + coarse + fine\nT = 8"]


def test_one_network_read_early_is_one_line() -> None:
    lines, left_out = chosen_lines([EARLY, AT_8])
    assert [(line.label, line.early, points(line)) for line in lines] == [
        ("SNN + coarse + fine", True, [(2, 20), (8, 58)])
    ]
    assert left_out == 0


def test_a_quantized_ann_stands_at_its_window() -> None:
    (line,), _ = chosen_lines([replace(ANN, stage="qc", finetuned=True, T=8, AP=59.0)])
    assert (line.label, points(line)) == ("QC-ANN", [(8, 59.0)])


def test_never_more_than_six_and_the_table_decides_which() -> None:
    stages = [replace(AT_8, stage=stage, neuron=neuron) for stage in ("copied", "coarse", "fine", "joint")
              for neuron in ("if", "signed")]  # fmt: skip
    rows = [*stages, replace(ANN, stage="qc", finetuned=True, T=8), replace(ANN, finetuned=True), ANN]
    lines, left_out = chosen_lines(rows)
    assert [line.label for line in lines] == [
        "ANN", "SNN + joint\nIF", "SNN + joint\nsigned IF", "SNN + coarse + fine\nIF", "SNN, weights copied\nIF",
        "QC-ANN",
    ]  # fmt: skip
    assert len(lines) == MOST and left_out == len(rows) - MOST


def test_the_first_line_of_each_kind_comes_before_second_ones() -> None:
    rows = [replace(AT_8, T=T, t=t, AP=float(T + t)) for T in (8, 16, 32, 64, 128) for t in (2, T)]
    copied = [replace(row, stage="copied") for row in rows]
    assert labels(ANN, *rows, *copied) == [
        "ANN", *(f"SNN + coarse + fine\nT = {T}" for T in (128, 64, 32)),
        *(f"SNN, weights copied\nT = {T}" for T in (128, 64)),
    ]  # fmt: skip


def test_seeds_share_a_line_with_their_mean_and_range() -> None:
    (line,), _ = chosen_lines([AT_8, replace(AT_8, seed=1, AP=55.0), replace(AT_8, AP=57.0)])  # the last of a seed
    assert line.points == ((8, 56.0, 55.0, 57.0),)


def test_rows_on_fewer_images_have_no_line() -> None:
    (line,), left_out = chosen_lines([AT_8, replace(AT_4, images=50)])
    assert points(line) == [(8, 58.0)] and left_out == 0


def test_delays_and_missing_stage_1_are_said() -> None:
    assert labels(AT_8, replace(AT_8, delay=2), replace(AT_8, finetuned=False)) == [
        "SNN + coarse + fine", "SNN + coarse + fine\ndelay 2", "SNN + coarse + fine\nno Stage I"
    ]  # fmt: skip


def test_layers_that_wait_for_a_latency_have_a_line_of_their_own() -> None:
    waiting = replace(AT_8, latency=16, L=16, AP=59.0)
    lines, _ = chosen_lines([waiting, AT_8])
    assert [(line.label, points(line)) for line in lines] == [
        ("SNN + coarse + fine", [(8, 58.0)]),
        ("SNN + coarse + fine\nlatency 16", [(8, 59.0)]),
    ]


def test_every_architecture_has_its_share() -> None:
    rows = [replace(row, model=f"m{i}") for i in range(4) for row in (ANN, AT_8, replace(AT_8, stage="joint"))]
    assert labels(*rows) == [f"{name}\nm{i}" for i in range(3) for name in ("ANN", "SNN + joint")]


def test_a_colour_says_how_a_network_was_made_and_a_marker_tells_the_rest() -> None:
    baseline = replace(AT_8, stage="copied", finetuned=False, method="channel-norm")
    rows = [ANN, AT_8, replace(AT_8, neuron="signed"), replace(AT_8, stage="joint"), baseline]
    lines = {line.label: line for line in chosen_lines(rows)[0]}
    fine, signed = lines["SNN + coarse + fine\nIF"], lines["SNN + coarse + fine\nsigned IF"]
    assert fine.colour == signed.colour == COLOURS["SNN + coarse + fine"] and fine.marker != signed.marker
    assert lines["ANN"].colour == COLOURS["ANN"] and lines["SNN + joint\nIF"].colour == COLOURS["SNN"]
    assert lines["channel-norm"].colour == BASELINE
    assert len(set(COLOURS.values()) | {BASELINE}) == len(COLOURS)  # the QC-ANN and the quantized ANN share one


def test_the_best_ann_is_always_drawn() -> None:
    """The loss of the others is against it, also where it is the clip ANN after Stage I."""
    stages = [replace(AT_8, stage=stage, neuron=neuron) for stage in ("copied", "coarse", "fine", "joint")
              for neuron in ("if", "signed")]  # fmt: skip
    lines, _ = chosen_lines([*stages, ANN, replace(ANN, finetuned=True, AP=70)])
    assert [line.label for line in lines][:2] == ["clip ANN", "ANN"]


def test_a_network_that_was_trained_from_scratch_has_the_rank_of_its_kind() -> None:
    rows = [replace(AT_8, stage=stage, neuron=neuron) for stage in ("copied", "coarse", "fine", "joint")
            for neuron in ("if", "signed")]  # fmt: skip
    scratch = replace(ANN, stage1_options="from scratch")
    lines, _ = chosen_lines([*rows, scratch, replace(ANN, finetuned=True, AP=70)])
    assert [line.label for line in lines][:2] == ["clip ANN", "ANN, from scratch"]

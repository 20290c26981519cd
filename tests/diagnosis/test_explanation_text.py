"""The Markdown of an explanation."""

from __future__ import annotations

import re

from made_explanations import chain, explanation, layer, ranking, step

from spikedet.diagnosis.records import LayerErrors, LayerRank
from spikedet.diagnosis.text import (
    chain_table,
    cosine_cell,
    error_table,
    explanation_markdown,
    ranking_table,
    residual_cell,
    residual_table,
    step_table,
)


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_every_section_is_there() -> None:
    rank = ranking(LayerRank(layer="a", moved=0.5, only=48.0, all_but=46.0))
    found = explanation(advice=("do this", "do that"), ranking=rank, delay=2)
    text = explanation_markdown(found)
    titles = ["What to do", "What it costs", "Layers by cost, 4 images", "Error at t = 4", "Residual potentials"]
    assert re.findall(r"^## (.*)$", text, re.M) == [
        *titles,
        "Residual error by step",
        "Similarity by step",
        "Thresholds",
    ]
    assert "tiny (copied, neuron if, T = 4, delay 2) on made train (8 images), against its source." in text
    assert "- do this.\n- do that.\n" in text
    assert "Layers by cost" not in explanation_markdown(explanation())


def test_tables_are_whole() -> None:
    for text in explanation_markdown(explanation()).split("\n\n"):
        if text.startswith("|"):
            assert len({len(row) for row in rows(text.strip())}) == 1


def test_error_table() -> None:
    head, _, line = rows(error_table([layer("a", step(4, clipping=0.25, over_firing=0.75))]))
    assert dict(zip(head, line, strict=True)) == {
        "layer": "a", "CE": "25.00 (25)", "QE": "0.00 (0)", "propagated, QC-ANN": "0.00 (0)",
        "calibration": "0.00 (0)", "propagated, RPE": "0.00 (0)", "RPE, under": "0.00 (0)", "RPE, over": "75.00 (75)",
        "cross": "0.00", "whole": "100.00",
    }  # fmt: skip


def test_ranking_and_chain() -> None:
    table = rows(ranking_table(ranking(LayerRank(layer="a", moved=0.125, only=48.0, all_but=46.0))))
    assert table[2:] == [["none", "0.0", "50.0", "-"], ["a", "12.5", "48.0", "46.0"], ["all", "100.0", "45.0", "-"]]
    assert rows(chain_table(chain(50, 47, None)))[2:] == [
        ["ANN", "-", "50.0", "50.0"], ["QC-ANN", "-", "47.0", "47.0"], ["SNN", "1", "-", "-"], ["SNN", "4", "-", "-"],
    ]  # fmt: skip


def test_steps() -> None:
    one = layer("a", step(1, 0.5, under_firing=0.5, over_firing=0.25), step(4, 0.75))
    assert rows(step_table([one], cosine_cell))[2:] == [["a", "0.5000", "0.7500"]]
    assert rows(step_table([one], residual_cell)) == [["layer", "t = 1", "t = 4"], ["---", "---:", "---:"],
                                       ["a", "50.00 + 25.00", "0.00 + 0.00"]]  # fmt: skip


def test_read_outs_have_no_potentials() -> None:
    readout = LayerErrors(layer="class", steps=(step(4),))
    assert len(rows(residual_table([readout, layer("a")]))) == 3
    text = explanation_markdown(explanation(layer("a"), readout))
    assert text.count("| class |") == 2


def test_no_layer() -> None:
    assert len(rows(step_table([], residual_cell))) == len(rows(step_table([], cosine_cell))) == 2

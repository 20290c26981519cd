"""Which results belong to weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_detector import chain, sample_images

from spikedet.commands.evaluate import evaluate
from spikedet.common.errors import DataError
from spikedet.config import EvaluateConfig
from spikedet.demo.table import find_results, short_table, table_html
from spikedet.evaluation import ResultRow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    config = EvaluateConfig(checkpoints=(str(chain()["fine"]),), data=str(sample_images()), split="test", out=str(out))
    evaluate(config)
    return out / "results.json"


@pytest.mark.parametrize("place", ["net.json", "results/results.json", "results.json"])
def test_results_beside_the_weights(tmp_path: Path, results: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    shutil.copy(results, tmp_path / place)
    weights = tmp_path / "net.safetensors"
    assert find_results(weights) == tmp_path / place
    text, rows = table_html([weights])
    assert "AP50:95" in text and [row.stage for row in rows][-1] == "fine"
    short, _, whole = text.partition("<details>")
    assert short.count("<th") == 1 + 5 and whole.count("<th") > 10 and "style=" not in text


def test_several_weights_have_one_table(tmp_path: Path, results: Path) -> None:
    """Each results file counts once; weights without one are left out."""
    names = ("a/one", "a/two", "b/net", "c/net")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    for place in ("a/results.json", "b/net.json"):
        shutil.copy(results, tmp_path / place)
    once = table_html([tmp_path / "b" / "net.safetensors"])[1]
    assert table_html([tmp_path / f"{name}.safetensors" for name in names])[1] == once + once


def test_without_results_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    """And not where the server keeps its files."""
    text, rows = table_html([tmp_path / "net.safetensors"])
    assert rows == [] and "spikedet evaluate net.safetensors --out results" in text and str(tmp_path) not in text


def result(stage: str, AP: float, **changes: Any) -> ResultRow:
    about = {"model": "tiny", "data": "voc", "split": "val", "images": 9, "seed": 0, "finetuned": stage != "ann"}
    return ResultRow(**{**about, "stage": stage, "AP": AP, "AP50": 2 * AP, **changes})


def test_the_short_table_has_the_last_stage_of_each_network() -> None:
    steps = {"neuron": "if", "T": 8, "t": 8}
    rows = [
        result("ann", 25.5),
        result("ann", 25.1, finetuned=True),
        result("qc", 24.0, T=8, t=8),
        result("copied", 10.0, **steps, loss=15.5),
        result("joint", 23.8, **steps),
        result("fine", 20.0, **steps, loss=5.5),
        result("joint", 8.6, **{**steps, "t": 1}),
        result("joint", 24.0, **steps, loss=1.5, latency=16),
        result("joint", 24.4, neuron="signed", T=4, t=4, loss=1.1, delay=2),
    ]
    assert short_table(rows).splitlines() == [
        "| network | T | AP50:95 | AP50 | loss |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| ANN | - | 25.5 | 51.0 | - |",
        "| plain IF | 8 | 23.8 | 47.6 | 1.7 |",
        "| plain IF, latency 16 | 8 | 24.0 | 48.0 | 1.5 |",
        "| signed IF, delay 2 | 4 | 24.4 | 48.8 | 1.1 |",
    ]


def test_networks_that_cannot_be_compared_are_told_apart() -> None:
    steps = {"neuron": "if", "T": 8, "t": 8}
    text = short_table([result("ann", 25.5), result("joint", 23.8, **steps, data="bccd")])
    assert "| plain IF, tiny on bccd val, 9 images | 8 | 23.8 | 47.6 | - |" in text
    assert short_table([]).count("\n") == 1


def test_damaged_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"net\.json: not the results of spikedet evaluate: Input data was truncated"):
        table_html([tmp_path / "net.safetensors"])

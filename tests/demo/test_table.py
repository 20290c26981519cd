"""Which results belong to weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_detector import chain, sample_images

from spikedet.commands.evaluate import evaluate
from spikedet.common.errors import DataError
from spikedet.config import EvaluateConfig
from spikedet.demo.table import find_results, table_markdown


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
    text, rows = table_markdown([weights])
    assert "AP50:95" in text and [row.stage for row in rows][-1] == "fine"


def test_several_weights_have_one_table(tmp_path: Path, results: Path) -> None:
    """Each results file counts once; weights without one are left out."""
    names = ("a/one", "a/two", "b/net", "c/net")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    for place in ("a/results.json", "b/net.json"):
        shutil.copy(results, tmp_path / place)
    once = table_markdown([tmp_path / "b" / "net.safetensors"])[1]
    assert table_markdown([tmp_path / f"{name}.safetensors" for name in names])[1] == once + once


def test_without_results_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    text, rows = table_markdown([tmp_path / "net.safetensors"])
    assert rows == [] and "spikedet evaluate" in text and "net.safetensors" in text


def test_damaged_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"net\.json: not the results of spikedet evaluate: Input data was truncated"):
        table_markdown([tmp_path / "net.safetensors"])

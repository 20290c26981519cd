"""What the benchmarks of error and energy make and publish of a tiny network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import energy as energy_benchmark
import explain as explain_benchmark
import pytest
import reports
from experiment import Experiment
from tables import first_table
from tiny_detector import chain, sample_images

from spikedet.commands.evaluate import evaluate
from spikedet.common.digests import file_sha256
from spikedet.config import EvaluateConfig, ExplainConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered_plots")]


def test_the_first_table_comes_with_the_line_above_it() -> None:
    text = "# Title\n\nWhat it is.\n\n| a |\n| --- |\n| 1 |\n\n| b |\n| --- |\n"
    assert first_table(text) == "What it is.\n\n| a |\n| --- |\n| 1 |"


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reports, "ROOT", tmp_path)
    (tmp_path / "docs" / "images").mkdir(parents=True)
    return tmp_path / "docs"


def published(docs: Path, kind: str) -> dict[str, Any]:
    """The one report, after a look at what was written and at what it says of the checkpoint."""
    assert {path.name for path in docs.rglob("*_tiny.*")} == {f"{kind}_tiny.{end}" for end in ("json", "md", "png")}
    text = (docs / "results" / f"{kind}_tiny.json").read_text("utf-8")
    (report,) = json.loads(text)["reports"]
    assert report["meta"]["command"] == "how" and str(chain()["fine"].parent) not in text
    assert report["meta"]["checkpoints"]["/".join(chain()["fine"].parts[-2:])] == file_sha256(chain()["fine"])
    return report


def test_a_network_is_explained_and_published(docs: Path, tmp_path: Path) -> None:
    asked = ExplainConfig(
        **{"checkpoint": str(chain()["fine"]), "data": str(sample_images()), "split": "train", "images": 4},
        rank_images=2,
        out=str(tmp_path / "out"),
    )
    made = explain_benchmark.explained([asked])
    reports.publish_reports("tiny", "explain", made, explain_benchmark.SPLIT_PLOT, "how")
    assert published(docs, "explain")["meta"]["seconds"] >= 0


def test_a_network_is_measured_and_published(docs: Path, tmp_path: Path) -> None:
    experiment = Experiment(
        name="tiny_energy", split="test", train={"split": "train"}, finetune={}, calibrate={}, networks=()
    )
    folder, data = chain()["fine"].parent, str(sample_images())
    assert energy_benchmark.checkpoint(folder) == chain()["fine"]
    evaluate(EvaluateConfig(checkpoints=(str(chain()["fine"]),), data=data, split="test", out=str(tmp_path)))
    costs = energy_benchmark.measured(experiment, [folder], tmp_path / "results.json", data, 2, tmp_path / "out")
    reports.publish_reports("tiny", "energy", {costs: {}}, "energy.png", "how")
    rows = published(docs, "energy")["rows"]
    (row,) = [row for row in rows if row["spent"] and row["constants"] == rows[0]["constants"]]
    assert row["AP"] is not None and row["ratio"] > 0

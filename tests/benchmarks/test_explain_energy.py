"""What the benchmark of error and energy makes and publishes of a tiny network."""

from __future__ import annotations

import json
from pathlib import Path

import explain_energy
import pytest
from experiment import Experiment
from tables import first_table
from tiny_detector import chain, pictures

from spikedet.config import EvaluateConfig
from spikedet.digests import file_sha256
from spikedet.evaluate import evaluate


def test_the_first_table_comes_with_the_line_above_it() -> None:
    text = "# Title\n\nWhat it is.\n\n| a |\n| --- |\n| 1 |\n\n| b |\n| --- |\n"
    assert first_table(text) == "What it is.\n\n| a |\n| --- |\n| 1 |"


def test_a_network_is_explained_measured_and_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(
        name="tiny_energy", split="test", train={"split": "train"}, finetune={}, calibrate={}, networks=()
    )
    folder, data = chain()["fine"].parent, str(pictures())
    assert explain_energy.checkpoint(folder) == chain()["fine"]
    evaluate(EvaluateConfig(checkpoints=(str(chain()["fine"]),), data=data, split="test", out=str(tmp_path)))
    monkeypatch.setattr(explain_energy, "ROOT", tmp_path)
    (tmp_path / "docs" / "images").mkdir(parents=True)
    explanations = explain_energy.explained(experiment, [folder], data, tmp_path / "out")
    costs = explain_energy.measured(experiment, [folder], tmp_path / "results.json", data, 2, tmp_path / "out")
    explain_energy.published("tiny", "explain", explanations, explain_energy.SPLIT_PLOT, "how")
    explain_energy.published("tiny", "energy", {costs: {}}, "energy.png", "how")
    written = {path.name for path in (tmp_path / "docs").rglob("*_tiny.*")}
    assert written == {f"{kind}_tiny.{end}" for kind in ("explain", "energy") for end in ("json", "md", "png")}
    for kind in ("explain", "energy"):
        text = (tmp_path / "docs" / "results" / f"{kind}_tiny.json").read_text("utf-8")
        (report,) = json.loads(text)["reports"]
        assert report["meta"]["command"] == "how" and str(folder) not in text
        name = "/".join(chain()["fine"].parts[-2:])
        assert report["meta"]["checkpoints"][name] == file_sha256(chain()["fine"])
        assert ("seconds" in report["meta"]) == (kind == "explain")
    (row,) = [row for row in report["rows"] if row["spent"] and row["constants"] == report["rows"][0]["constants"]]
    assert row["AP"] is not None and row["ratio"] > 0

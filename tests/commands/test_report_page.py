"""The HTML report: one file that needs no other, and says what was measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_detector import chain, sample_images

from spikedet.commands.evaluate import evaluate, evaluate_all
from spikedet.commands.report import found_checkpoints, image_scores, report, stored_config
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import EvaluateConfig, ReportConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation's folder; not to be changed."""
    out = tmp_path_factory.mktemp("run") / "results"
    config = EvaluateConfig(
        checkpoints=(str(chain()["fine"]),), data=str(sample_images()), split="test", t="2,4", draws=20, out=str(out)
    )
    evaluate(config)
    return out


@pytest.fixture(scope="module")
def text(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert report(ReportConfig(run=str(run), examples=1, out=str(out))) == out
    return out.read_text(encoding="utf-8")


def test_it_opens_offline(text: str) -> None:
    assert text.startswith("<!doctype html>")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources and all(source.startswith(("data:image/", "#section-")) for source in sources)
    assert "@import" not in text and "url(" not in text


def test_it_has_every_section(text: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    expected = ["Table", "AP by time step", "AP by class", "Best images", "Worst images"]
    assert titles == [*expected, "Settings", "Command, checkpoints, versions"]
    assert "SNN + coarse + fine" in text and "<table>" in text
    assert "left the ANN, right the SNN at t = 4" in text
    assert "torch" in text and "&quot;draws&quot;: 20" in text


def test_detections_are_not_computed_again(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run / "detections").iterdir()}
    report(ReportConfig(run=str(run.parent), out=str(tmp_path / "again.html")))
    assert before == {path: path.stat().st_mtime_ns for path in (run / "detections").iterdir()}
    assert "MiB" not in capsys.readouterr().out  # what is said before a simulation


def test_a_run_that_was_moved_keeps_its_detections(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    damaged(run, moved, out="gone/results")  # as it was written relative to another folder
    monkeypatch.chdir(tmp_path)
    report(ReportConfig(run=str(moved)))
    assert "MiB" not in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_checkpoints_are_found_from_any_folder(tmp_path: Path) -> None:
    """By the stored path, relative to a folder above the results, or by digest beside them."""
    run = tmp_path / "runs" / "mine"
    (run / "results").mkdir(parents=True)
    (run / "joint.safetensors").write_bytes(b"weights")
    results, digest = run / "results" / "results.json", {"x": file_sha256(run / "joint.safetensors")}
    whole, here = str(run / "joint.safetensors"), run.resolve() / "joint.safetensors"
    assert found_checkpoints(results, [whole], {}) == (whole,)
    assert found_checkpoints(results, ["runs/mine/joint.safetensors"], {}) == (str(here),)
    assert found_checkpoints(results, ["elsewhere/joint.safetensors"], digest) == (str(here),)
    assert found_checkpoints(results, ["elsewhere/joint.safetensors"], {}) == ("elsewhere/joint.safetensors",)


def test_scores_are_percent(run: Path) -> None:
    config = stored_config(run / "results.json", json.loads((run / "results.json").read_text("utf-8"))["meta"])
    evaluation = evaluate_all(config)
    ann = next(evaluated for evaluated in evaluation.evaluated if evaluated.network == "ann")
    scores = image_scores(evaluation.dataset, ann)
    assert scores.shape == (len(evaluation.dataset),)
    assert np.all((scores >= 0) & (scores <= 100) | np.isnan(scores))


def test_best_images_score_higher_than_worst(text: str) -> None:
    best, worst = (
        [float(score) for score in re.findall(r"AP50:95 ([\d.]+);", part)]
        for part in text.split("Best images</h2>")[1].split("Worst images</h2>")
    )
    assert best == sorted(best, reverse=True) and worst == sorted(worst)
    assert best and worst and best[-1] >= worst[-1] and best[0] > worst[0]


def test_what_other_commands_wrote_is_in_it(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "energy.md").write_text("| layer | <b>pJ</b> |\n| --- | --- |\n| a | 1 |\n", "utf-8")
    page = report(ReportConfig(run=str(folder), examples=0)).read_text("utf-8")
    assert "<h2>Energy</h2>" in page and "&lt;b&gt;pJ&lt;/b&gt;" in page
    assert "Best images" not in page


def test_a_folder_without_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no results.json here; make it with spikedet evaluate"):
        report(ReportConfig(run=str(tmp_path)))


def damaged(run: Path, folder: Path, **changes: object) -> Path:
    content = json.loads((run / "results.json").read_text("utf-8"))
    content["meta"]["config"] = {**content["meta"]["config"], **changes}
    (folder / "results.json").write_text(json.dumps(content), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"batch": "many"}, DataError, "its settings are damaged"),
        ({"checkpoints": 3}, DataError, "its settings are damaged"),
        ({"checkpoints": ["gone.safetensors"]}, CheckpointError, "gone.safetensors"),
    ],
)
def test_settings_that_are_damaged(run: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception],
                                   said: str) -> None:  # fmt: skip
    with pytest.raises(error, match=said):
        report(ReportConfig(run=str(damaged(run, tmp_path, **changes))))

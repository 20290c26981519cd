"""The HTML report: one file that needs no other, and says what was measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_detector import chain, sample_images

from spikedet.commands.evaluate import evaluate
from spikedet.commands.report import evaluated_again, image_scores, report
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import EvaluateConfig, ReportConfig

pytestmark = pytest.mark.slow


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
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert "@import" not in text and "url(" not in text


def test_it_begins_with_what_was_asked_and_folds_what_was_not(text: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    shown = ["Best images", "Worst images", "AP by time step"]
    assert titles == [*shown, "AP by class", "All results", "Command, settings, versions"]
    assert re.findall(r"<summary><h2>(.*?)</h2>", text) == titles[len(shown) :]
    first = re.findall(r"<p>(.*?)</p>", text)[0]
    assert re.fullmatch(
        r"SNN \+ coarse \+ fine (loses|gains) [\d.]+ points of AP50:95 at T = 4, with [\d,]+ spikes .*", first
    )
    assert text.index(first) < text.index("Best images</h2>")
    assert "SNN at t = 4<img" in text and "ANN<img" in text
    assert "torch" in text and "&quot;draws&quot;: 20" in text


def test_detections_are_not_computed_again(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run / "detections").iterdir()}
    report(ReportConfig(run=str(run.parent), examples=1, out=str(tmp_path / "again.html")))
    assert before == {path: path.stat().st_mtime_ns for path in (run / "detections").iterdir()}
    assert "MiB" not in capsys.readouterr().out  # what is said before a simulation


def test_a_run_that_was_moved_keeps_its_detections(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    damaged(run, moved, out="gone/results")  # as it was written relative to another folder
    monkeypatch.chdir(tmp_path)
    report(ReportConfig(run=str(moved), examples=1))
    assert "MiB" not in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_a_run_is_reported_from_any_folder_after_any_move(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Checkpoints and images, named relative to where the evaluation was made, were moved along with the results."""
    for name, source in (("run", chain().folder), ("images", sample_images())):
        shutil.copytree(source, tmp_path / "first" / name)
    monkeypatch.chdir(tmp_path / "first")
    evaluate(EvaluateConfig(checkpoints=("run/fine.safetensors",), data="images", split="test", t="4", draws=20,
                            out="run/results"))  # fmt: skip
    meta = json.loads(Path("run/results/results.json").read_text("utf-8"))["meta"]
    assert meta["data"] == "../../images"
    assert "../fine.safetensors" in meta["checkpoints"]
    (tmp_path / "first").rename(tmp_path / "second")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "second" / "run" / "fine.safetensors").rename(tmp_path / "second" / "run" / "best.safetensors")
    capsys.readouterr()
    page = report(ReportConfig(run="../second/run", examples=1))
    assert "Best images" in page.read_text("utf-8")
    assert "MiB" not in capsys.readouterr().out  # the detections are those of the evaluation
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_other_images_are_not_taken_for_those_that_were_evaluated(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    images = tmp_path / "images"
    shutil.copytree(sample_images(), images)
    next(iter((images / "JPEGImages").glob("test*"))).write_bytes(
        next(iter(images.glob("JPEGImages/train*"))).read_bytes()
    )
    damaged(run, folder, data=str(images))
    stored(folder, folder, data=str(images))
    with pytest.raises(DataError, match=r"has other images; put what was moved back, or make the report"):
        report(ReportConfig(run=str(folder)))


def test_without_images_the_results_are_enough(run: Path, tmp_path: Path) -> None:
    stored(run, tmp_path, data="gone", checkpoints={"gone.safetensors": "0" * 64})
    with pytest.raises(CheckpointError, match=r"gone.safetensors is not found; .*--examples 0"):
        report(ReportConfig(run=str(tmp_path)))
    page = report(ReportConfig(run=str(tmp_path), examples=0)).read_text("utf-8")
    assert "points of AP50:95 at T = 4" in page and "Best images" not in page


def test_an_ann_alone_needs_no_images(run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "results.json").read_text("utf-8"))
    content["rows"] = [row for row in content["rows"] if row["stage"] == "ann" and not row["finetuned"]]
    content["meta"] |= {"data": "gone", "checkpoints": {"gone.safetensors": "0" * 64}}
    (tmp_path / "results.json").write_text(json.dumps(content), "utf-8")
    assert "<p>ANN has " in report(ReportConfig(run=str(tmp_path))).read_text("utf-8")


def test_results_of_before_are_found_by_the_paths_of_their_settings(run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "results.json").read_text("utf-8"))
    for key in ("data", "data_key", "checkpoints"):
        del content["meta"][key]
    (tmp_path / "results.json").write_text(json.dumps(content), "utf-8")
    assert "Best images" in report(ReportConfig(run=str(tmp_path), examples=1)).read_text("utf-8")


def test_names_in_results_are_text(run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "results.json").read_text("utf-8"))
    names = {
        "model": "![x](http://example.org/x.png)",
        "data": "<img src=//example.org>",
        "split": "[a](//example.org)",
    }
    content["rows"] = [{**row, **names} for row in content["rows"]]
    (tmp_path / "results.json").write_text(json.dumps(content), "utf-8")
    page = report(ReportConfig(run=str(tmp_path), examples=0)).read_text("utf-8")
    assert re.findall(r"<(?:a|img src=[^\"d]|img alt=\"[^\"]*\" src=\"[^d])", page) == []
    assert "![x](http://example.org/x.png)" in page


def test_scores_are_percent(run: Path) -> None:
    results = run / "results.json"
    evaluation = evaluated_again(results, json.loads(results.read_text("utf-8"))["meta"])
    ann = next(evaluated for evaluated in evaluation.evaluated if evaluated.row.stage == "ann")
    scores = image_scores(evaluation.dataset, ann)
    assert scores.shape == (len(evaluation.dataset),)
    assert np.all((scores >= 0) & (scores <= 100) | np.isnan(scores))


def test_best_images_score_higher_than_worst(text: str) -> None:
    best, worst = (
        [float(score) for score in re.findall(r"<figcaption>[^<]*AP50:95 ([\d.]+)<", part)]
        for part in text.split("Best images</h2>")[1].split("Worst images</h2>")
    )
    assert best == sorted(best, reverse=True) and worst == sorted(worst)
    assert best and worst and best[-1] >= worst[-1] and best[0] > worst[0]


def test_what_other_commands_wrote_is_in_it(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "energy.md").write_text("| layer | <b>pJ</b> |\n| --- | --- |\n| a | 1 |\n", "utf-8")
    page = report(ReportConfig(run=str(folder), examples=0)).read_text("utf-8")
    assert "<summary><h2>Energy</h2></summary>" in page and "&lt;b&gt;pJ&lt;/b&gt;" in page
    assert "Best images" not in page


def test_a_folder_without_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no results.json here; make it with spikedet evaluate"):
        report(ReportConfig(run=str(tmp_path)))


def damaged(run: Path, folder: Path, **changes: object) -> Path:
    content = json.loads((run / "results.json").read_text("utf-8"))
    content["meta"]["config"] = {**content["meta"]["config"], **changes}
    (folder / "results.json").write_text(json.dumps(content), "utf-8")
    return folder


def stored(run: Path, folder: Path, **meta: object) -> None:
    """The results with other facts about the run."""
    content = json.loads((run / "results.json").read_text("utf-8"))
    content["meta"] |= meta
    (folder / "results.json").write_text(json.dumps(content), "utf-8")


@pytest.mark.parametrize("changes", [{"batch": "many"}, {"checkpoints": 3}, {"detections": 3, "draws": "0"}])
def test_settings_that_are_damaged(run: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match="its settings are damaged"):
        report(ReportConfig(run=str(damaged(run, tmp_path, **changes))))


@pytest.mark.parametrize("digests", [3, ["a"], {"fine.safetensors": 3}])
def test_digests_that_are_damaged(run: Path, tmp_path: Path, digests: object) -> None:
    stored(run, tmp_path, checkpoints=digests)
    with pytest.raises((DataError, CheckpointError), match=r"damaged|is not found"):
        report(ReportConfig(run=str(tmp_path)))

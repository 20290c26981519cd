"""What the pipeline leaves behind, from the first command to the last."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_detector import same

from spikedet import SpikingDetector
from spikedet.checkpoint import load_checkpoint, read_meta
from spikedet.common.digests import file_sha256
from spikedet.data.images import read_image
from spikedet.evaluation import read_results

pytestmark = pytest.mark.slow

STAGES = ("ann", "qc", "copied", "coarse", "fine", "joint")
PARENTS = {"qc": "ann", "copied": "qc", "coarse": "copied", "fine": "copied", "joint": "fine"}
Folders = tuple[Path, Path]


def checkpoint(folder: Path, stage: str) -> Path:
    return folder / "run" / f"{stage}.safetensors"


def test_every_stage_left_a_checkpoint(pipelines: Folders) -> None:
    for stage in STAGES:
        assert read_meta(checkpoint(pipelines[0], stage)).stage == stage


def test_each_checkpoint_names_its_parent(pipelines: Folders) -> None:
    for stage, parent in PARENTS.items():
        link = read_meta(checkpoint(pipelines[0], stage)).parent
        assert link is not None
        assert (link["stage"], link["sha256"]) == (parent, file_sha256(checkpoint(pipelines[0], parent)))


def test_checkpoints_remember_every_setting(pipelines: Folders) -> None:
    meta = read_meta(checkpoint(pipelines[0], "joint"))
    assert set(meta.config) == {"train", "finetune", "convert", "calibrate", "joint"}
    assert (meta.config["train"]["held_out"], meta.config["calibrate"]["images"]) == (0.25, 6)
    assert (meta.model, meta.T, meta.finetuned, meta.image_size) == ("tiny", 4, True, 64)
    assert meta.data["data"].startswith("synthetic:")


def test_nothing_is_pickled_and_the_data_is_written_once(pipelines: Folders) -> None:
    files = [path for path in pipelines[0].rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix in (".pt", ".pth", ".pkl", ".cache", ".npy", ".bin")] == []
    assert [path.name for path in (pipelines[0] / "runs" / "data").iterdir()] == ["synthetic-v1-64x64-12-4-4-seed0"]
    assert {path.name for path in pipelines[0].iterdir()} == {
        *("tiny.yaml", "stage.yaml", "run", "runs", "results", "boxes")
    }


def test_results_hold_the_whole_chain(pipelines: Folders) -> None:
    meta, rows = read_results(pipelines[0] / "results" / "results.json")
    assert [(row.stage, row.finetuned, row.t) for row in rows] == [
        ("ann", False, None),
        ("ann", True, None),
        ("qc", True, 4),
        *[(stage, True, t) for stage in ("copied", "coarse", "fine", "joint") for t in (2, 4)],
    ]
    assert all((row.loss is None) == (row.stage == "ann") for row in rows)
    assert all((row.spikes_per_image or 0) > 0 for row in rows if row.neuron)
    assert {row.images for row in rows} == {4}
    assert set(meta["checkpoints"].values()) == {file_sha256(checkpoint(pipelines[0], stage)) for stage in STAGES}


@pytest.mark.parametrize("name", ["table.md", "ap_by_t.png"])
def test_results_can_be_looked_at(pipelines: Folders, name: str) -> None:
    assert (pipelines[0] / "results" / name).stat().st_size > 100


def test_every_image_was_drawn(pipelines: Folders) -> None:
    boxes = pipelines[0] / "boxes"
    found: dict[str, Any] = json.loads((boxes / "detections.json").read_text(encoding="utf-8"))
    assert len(found) == len(list(boxes.glob("*.png"))) == 20
    assert {tuple(by_step) for by_step in found.values()} == {("2", "4")}
    assert read_image(boxes / "test_000000.png").shape == (64, 2 * 64 + 4, 3)


def test_the_python_interface_gives_what_was_written(pipelines: Folders) -> None:
    folder = pipelines[0]
    detector = SpikingDetector.load(checkpoint(folder, "joint"))
    written = json.loads((folder / "boxes" / "detections.json").read_text(encoding="utf-8"))
    name = next(name for name, by_step in written.items() if by_step["4"])
    found = detector(folder / name, t=[2, 4], confidence=0.0001)
    assert {str(t): detections.to_records(detector.class_names) for t, detections in found.items()} == written[name]


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_commands_give_the_same_tensors(pipelines: Folders, stage: str) -> None:
    first, second = (load_checkpoint(checkpoint(folder, stage))[0] for folder in pipelines)
    assert same(first, second)


def test_the_same_commands_give_the_same_results(pipelines: Folders) -> None:
    first, second = (read_results(folder / "results" / "results.json")[1] for folder in pipelines)
    for row, other in zip(first, second, strict=True):  # files name their parents, by paths that differ here
        assert row == replace(other, checkpoint=row.checkpoint, parent=row.parent)
    texts = [(folder / "boxes" / "detections.json").read_text(encoding="utf-8") for folder in pipelines]
    assert texts[0] == texts[1]

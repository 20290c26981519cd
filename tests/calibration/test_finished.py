"""Finished layers: kept whole they come back, damaged they are calibrated again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import same, write_ann
from torch import Tensor, nn

from spikedet.calibration.finished import FinishedLayers, is_result
from spikedet.calibration.report import LayerReport
from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.checkpoint.state import load_state, save_state
from spikedet.common.errors import CheckpointError

REPORT = LayerReport("model.0", 0.5, 0.25, 0.125, 3)


def layer(seed: int) -> nn.Conv2d:
    torch.manual_seed(seed)
    return nn.Conv2d(3, 4, (1, 3))


def kept(folder: Path) -> Path:
    """A state with one layer."""
    path = folder / "state.safetensors"
    FinishedLayers(path, "a key").add(layer(0), "model.0", REPORT)
    return path


def rewritten(path: Path, tensors: dict[str, Tensor], **report: Any) -> None:
    facts = {"key": "a key", "reports": {"model.0": {**dataclasses.asdict(REPORT), **report}}}
    save_state(path, {"model.0": tensors}, {"state": {}, "param_groups": []}, facts)


def test_a_layer_comes_back(tmp_path: Path) -> None:
    path, other = kept(tmp_path), layer(1)
    finished = FinishedLayers(path, "a key", resume=True)
    assert len(finished) == 1 and finished.take(other, "model.0") == REPORT
    assert same(other.state_dict(), layer(0).state_dict())
    assert finished.take(other, "model.1") is None
    finished.remove()
    assert not path.exists()


def test_a_result_of_another_calibration_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is made again, which takes minutes."""
    path = write_ann(tmp_path / "fine.safetensors")
    tensors, meta = load_checkpoint(path)
    save_checkpoint(path, tensors, dataclasses.replace(meta, notes={"calibration": "a key"}))
    assert is_result(path, "a key") and not is_result(tmp_path / "none.safetensors", "a key")
    assert capsys.readouterr().out == ""
    assert not is_result(path, "another key")
    assert capsys.readouterr().out.startswith(f"{path}: made from another network")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what is mapped")
def test_the_file_is_not_kept_open(tmp_path: Path) -> None:
    """Windows replaces no file that is mapped, and the next layer is written to this one."""
    finished = FinishedLayers(kept(tmp_path), "a key", resume=True)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    finished.add(layer(1), "model.1", REPORT)


def test_nothing_is_taken_without_resume_or_from_another_calibration(tmp_path: Path) -> None:
    path = kept(tmp_path)
    assert len(FinishedLayers(path, "a key")) == 0
    with pytest.raises(CheckpointError, match="the state of a calibration of another network"):
        FinishedLayers(path, "another key", resume=True)


@pytest.mark.parametrize("change", ["a tensor less", "one too many", "another shape", "another type", "nan"])
def test_a_layer_that_was_not_kept_whole_is_not_finished(change: str, tmp_path: Path) -> None:
    path, other = kept(tmp_path), layer(1)
    tensors = load_state(path)[0]["model.0"]
    match change:
        case "a tensor less":
            del tensors["bias"]
        case "one too many":
            tensors["theta"] = torch.ones(4)
        case "another shape":
            tensors["bias"] = torch.ones(5)
        case "another type":
            tensors["bias"] = torch.ones(4, dtype=torch.float16)
        case "nan":
            tensors["bias"][2] = float("nan")
    rewritten(path, tensors)
    assert FinishedLayers(path, "a key", resume=True).take(other, "model.0") is None
    assert same(other.state_dict(), layer(1).state_dict())


@pytest.mark.parametrize("report", [{"epochs": "3"}, {"layer": None}, {"coarse_before": None}, {"fine_after": None}])
def test_a_damaged_report_is_none(report: dict[str, Any], tmp_path: Path) -> None:
    path = kept(tmp_path)
    rewritten(path, load_state(path)[0]["model.0"], **report)
    assert len(FinishedLayers(path, "a key", resume=True)) == 0
    assert load_state(path)[2]["key"] == "a key"

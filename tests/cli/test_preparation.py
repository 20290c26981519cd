"""What the command line finds out before anything is computed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from spikedet.cli import preparation
from spikedet.cli.main import main
from spikedet.cli.preparation import prepared
from spikedet.common.errors import ConfigError, SpikedetError
from spikedet.common.resources import shipped_weights
from spikedet.config import (
    CalibrateConfig,
    ConvertConfig,
    EvaluateConfig,
    ExplainConfig,
    GrowConfig,
    JointConfig,
    PublishConfig,
    ReportConfig,
    TrainConfig,
)

NAME = "tiny-yolo-csp-voc-t8"


def test_shipped_weights_are_known_by_name_to_every_command() -> None:
    path = str(shipped_weights()[NAME])
    assert prepared(EvaluateConfig(checkpoints=(NAME, "other"))).checkpoints == (path, "other")
    assert prepared(PublishConfig(checkpoint=NAME, out="a.safetensors")).checkpoint == path
    assert prepared(TrainConfig(weights=NAME)).weights == path
    chain = ExplainConfig(checkpoint=NAME, qc="tiny-yolo-csp-nano-voc-qc", source="tiny-yolo-csp-nano-voc-source")
    assert prepared(chain).qc == str(shipped_weights()["tiny-yolo-csp-nano-voc-qc"])
    assert prepared(chain).source == str(shipped_weights()["tiny-yolo-csp-nano-voc-source"])
    same = CalibrateConfig(checkpoint="mine.safetensors")
    assert prepared(same) == same


def test_nothing_is_written_beside_them_unasked() -> None:
    with pytest.raises(ConfigError, match=f"--out is missing: {NAME} is the package's own"):
        prepared(ConvertConfig(checkpoint=NAME))
    assert prepared(ConvertConfig(checkpoint=NAME, dry_run=True)).checkpoint == str(shipped_weights()[NAME])


def test_an_output_that_cannot_be_written_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert main(["train", "--data", "nowhere", "--out", str(out)]) == 1
        assert "cannot write here" in capsys.readouterr().err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_the_folder_of_the_checkpoint_and_that_of_detections_are_outputs_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    beside = str(tmp_path / "file" / "fine.safetensors")
    for config in (
        JointConfig(checkpoint=beside),
        EvaluateConfig(checkpoints=("a",), detections=beside, out=str(tmp_path)),
    ):
        with pytest.raises(SpikedetError, match=r"file.*: cannot write here"):
            prepared(config)
    assert prepared(ConvertConfig(checkpoint=beside, dry_run=True)).checkpoint == beside


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(SpikedetError, match="cannot write here"):
            prepared(TrainConfig(out=str(tmp_path / "new")))
    finally:
        tmp_path.chmod(0o755)


def test_looking_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    real = preparation.require_writable
    monkeypatch.setattr(preparation, "require_writable", lambda folder: [asked.append(folder), real(folder)])
    prepared(TrainConfig(out=str(tmp_path / "a" / "b")))
    prepared(ReportConfig(run=".", out=str(tmp_path / "page.html")))
    assert asked == [tmp_path / "a" / "b", tmp_path]
    assert not list(tmp_path.iterdir())


def test_home_folders_are_written_out_wherever_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = prepared(EvaluateConfig(checkpoints=("~/a", "b~"), data="~/data", out="~/out"))
    assert config.checkpoints == (f"{tmp_path}/a", "b~")
    assert (config.data, config.out) == (f"{tmp_path}/data", f"{tmp_path}/out")
    assert prepared(GrowConfig(source="~/a.jpg", weights="a,~/b", out="out")).weights == f"a,{tmp_path}/b"
    assert prepared(TrainConfig(data="~nobody-of-this-name/data")).data == "~nobody-of-this-name/data"
    (tmp_path / "a.yaml").write_text("data: ~/nowhere\nout: ~/out\n", encoding="utf-8")
    assert main(["train", "--config", "~/a.yaml", "--model", "tiny-yolo-nano"]) == 1
    assert f"{tmp_path}/nowhere: no such dataset" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


def test_no_temporary_folder_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == (
        "spikedet train: no folder for temporary files can be written to; make room, or name one in the variable "
        "TMPDIR\n"
    )

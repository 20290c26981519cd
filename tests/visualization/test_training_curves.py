"""Curves of one training run, from the log that the loop writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from spikedet.visualization.training import plot_training, read_log

LOG = "epoch,time,train/box_loss,held_out/AP,lr/pg0\n1,0.5,4.25,0,0.001\n2,1,3.5,12.5,0.0005\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    path.write_text(LOG, encoding="utf-8")
    return path


def test_columns_by_name(log: Path) -> None:
    assert read_log(log) == {
        "epoch": [1, 2],
        "time": [0.5, 1],
        "train/box_loss": [4.25, 3.5],
        "held_out/AP": [0, 12.5],
        "lr/pg0": [0.001, 0.0005],
    }


def test_lines_that_were_not_written_whole_are_left_out(log: Path) -> None:
    log.write_text(LOG + "3,1.5,3.25,13,0.0001,7\n4,2,3\n5,2,,1,0.1\n", encoding="utf-8")
    assert read_log(log)["epoch"] == [1, 2]
    assert {len(values) for values in read_log(log).values()} == {2}


def test_a_log_without_epochs_has_no_columns(log: Path) -> None:
    log.write_text(LOG.splitlines()[0] + "\n", encoding="utf-8")
    assert read_log(log) == {}


def test_the_image_is_a_png_and_nothing_else_is_left(log: Path, tmp_path: Path) -> None:
    path = plot_training(log, tmp_path / "new" / "training.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (2000, 800)
    assert [file.name for file in path.parent.iterdir()] == ["training.png"]

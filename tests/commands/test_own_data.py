"""Folders as people have them through the commands; a division is kept by everything that follows the training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_detector import IMAGE_SIZE, chain, sample_images, write_model_yaml

from spikedet.checkpoint import read_meta
from spikedet.cli.main import main
from spikedet.commands.calibrate import calibrate
from spikedet.commands.evaluate import evaluate, evaluate_all
from spikedet.commands.train import train
from spikedet.common.errors import ConfigError, DataError
from spikedet.config import CalibrateConfig, EvaluateConfig, TrainConfig
from spikedet.data import load_dataset
from spikedet.data.division import digest

sys.path.append(str(Path(__file__).parent.parent / "data"))

from foreign_layouts import LAYOUTS, annotated, cvat_voc, kangaroo


def trained(folder: Path, data: Path, **more: Any) -> Path:
    """A network trained for one epoch."""
    model = write_model_yaml(folder / "tiny.yaml")
    settings: dict[str, Any] = {"weights": "none", "model": str(model), "image_size": IMAGE_SIZE, "epochs": 1, **more}
    return train(TrainConfig(data=str(data), out=str(folder / "run"), theta_levels=0, **settings))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    kangaroo(tmp_path / "mine", annotated(sample_images()))
    return tmp_path / "mine"


def test_the_parts_of_the_training_are_kept(tmp_path: Path, mine: Path) -> None:
    checkpoint = trained(tmp_path, mine, fractions="50,25,25")
    split = json.loads((tmp_path / "run/split.json").read_text())
    assert {part: len(names) for part, names in split.items()} == {"train": 8, "val": 4, "test": 4}
    parts = read_meta(checkpoint).data["parts"]
    assert parts == {part: [digest(name) for name in split[part]] for part in ("val", "test")}
    (mine / "images/aaa.jpg").write_bytes((mine / "images" / Path(split["train"][0]).name).read_bytes())
    (mine / "annots/aaa.xml").write_text((mine / "annots" / f"{Path(split['train'][0]).stem}.xml").read_text())
    config = EvaluateConfig(checkpoints=(str(checkpoint),), split="testing", out=str(tmp_path / "out"))
    dataset = evaluate_all(config).dataset
    assert sorted(sample.image_id for sample in dataset.samples) == split["test"]
    mine.rename(tmp_path / "other")  # the images are recognized, not the name of their folder
    elsewhere = load_dataset(tmp_path / "other", "test", trained=read_meta(checkpoint).data)
    assert sorted(sample.image_id for sample in elsewhere.samples) == split["test"]


def test_a_division_outlives_the_name_of_the_folder(tmp_path: Path) -> None:
    """Also where image ids begin with it, as VOC's do."""
    cvat_voc(tmp_path / "mine", annotated(sample_images()))
    first = load_dataset(tmp_path / "mine", "test")
    assert first.division is not None
    parts = {part: [digest(name) for name in first.division[part][:2]] for part in ("val", "test")}
    (tmp_path / "mine").rename(tmp_path / "other")
    earlier = {"data": str(tmp_path / "mine"), "split": "train", "parts": {"val": [], "test": parts["val"]}}
    other = load_dataset(tmp_path / "other", "test", trained=earlier)
    assert [Path(name).stem for name in first.division["val"]] == [sample.image_path.stem for sample in other.samples]


def test_an_image_of_a_part_that_is_gone(tmp_path: Path, mine: Path) -> None:
    parts = {"val": [digest("images/train_000000.jpg")], "test": [digest("images/gone.jpg")]}
    earlier = {"data": str(mine), "split": "train", "parts": parts}
    assert [s.image_path.stem for s in load_dataset(mine, "val", trained=earlier).samples] == ["train_000000"]
    with pytest.raises(DataError, match="the network's split has in 'test' is not here any more"):
        load_dataset(mine, "test", trained=earlier)
    other = load_dataset(mine, "test", trained={**earlier, "data": "elsewhere"})  # not the training's images
    assert len(other) == 2 and other.division is not None


def test_the_test_part_is_not_trained_on(tmp_path: Path, mine: Path) -> None:
    with pytest.raises(ConfigError, match=r"--split train\+test: the test part of mine is for evaluation"):
        trained(tmp_path, mine, split="train+test")
    config = CalibrateConfig(checkpoint=str(chain()["copied"]), data=str(mine), split="testing", out=str(tmp_path))
    with pytest.raises(ConfigError, match="--split testing: the test part of mine is for evaluation; use train"):
        calibrate(config)


def test_a_checkpoint_from_before_divisions(tmp_path: Path, mine: Path) -> None:
    assert (
        len(load_dataset(mine, "test", trained={"data": str(mine), "split": "train", "held_out": 0.1, "seed": 0})) == 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_check(tmp_path: Path, name: str) -> None:
    LAYOUTS[name].write(tmp_path / "mine", annotated(sample_images()))
    assert main(["data", "check", str(tmp_path / "mine"), "--out", str(tmp_path / "check")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cvat_coco", "roboflow_csv", "labelme"])
def test_train_and_evaluate(tmp_path: Path, name: str) -> None:
    LAYOUTS[name].write(tmp_path / "mine", annotated(sample_images()))
    checkpoint = trained(tmp_path, tmp_path / "mine")
    rows = evaluate(EvaluateConfig(checkpoints=(str(checkpoint),), split="test", out=str(tmp_path / "out")))
    assert [row.images for row in rows] == [4 if LAYOUTS[name].split else 2]

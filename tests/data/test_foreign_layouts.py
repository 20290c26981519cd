"""Folders as people have them: recognized, said in one line, and with the same boxes in all layouts."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from foreign_layouts import LAYOUTS, Annotated, annotated
from voc_writer import fingerprint

from spikedet.data import load_dataset
from spikedet.data.sources import find_layout
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic

NAMES = ("circle", "cross", "square", "triangle")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Annotated]:
    root = tmp_path_factory.mktemp("synthetic") / "set"
    return annotated(write_synthetic(root, SyntheticConfig(train=16, val=4, test=4, image_hw=(64, 80))))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_boxes_in_every_layout(
    tmp_path: Path, images: list[Annotated], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    layout = LAYOUTS[name]
    layout.write(tmp_path / "mine", images)
    before = fingerprint(tmp_path)
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        given = NAMES if name == "year" else None  # VOC's classes are those that the split uses
        dataset = load_dataset(tmp_path / "mine", split, given)
        assert dataset.class_names == NAMES
        for sample in dataset.samples:
            splits[sample.image_path.stem] = split
            truth = next(image for image in images if image.stem == sample.image_path.stem)
            assert sample.image_hw == truth.image_hw
            np.testing.assert_allclose(
                sample.boxes_xyxy, np.array([b for _, b in truth.objects]).reshape(-1, 4), atol=1e-4
            )
            assert [dataset.class_names[label] for label in sample.labels] == [name for name, _ in truth.objects]
    assert find_layout(tmp_path / "mine")[0].kind == layout.kind
    assert splits.keys() == {image.stem for image in images}
    if layout.split:
        assert splits == {image.stem: image.split for image in images}
    else:
        assert [list(splits.values()).count(split) for split in ("train", "val", "test")] == [20, 2, 2]
    assert fingerprint(tmp_path) == before
    said = [record.getMessage() for record in caplog.records]
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 3, said
    assert said[0].startswith(f"{tmp_path / 'mine'}: ")
    assert said[0].endswith("no split files: 20 train, 2 val, 2 test, seed 0") != layout.split

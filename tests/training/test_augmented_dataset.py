"""Our images and boxes as ultralytics' augmentations get them, without a file written."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset

from spikedet.common.environment import seed_everything
from spikedet.common.errors import DataError
from spikedet.data.dataset import DetectionDataset, Sample
from spikedet.training import dataset as module
from spikedet.training.dataset import AugmentedDataset
from spikedet.training.workers import start_worker

SIZES_HW = [(20, 40), (64, 64), (33, 17), (80, 50), (10, 70)]


@pytest.fixture
def source(tmp_path: Path) -> DetectionDataset:
    """Five images of many sizes; the second has no object, the third only a difficult one."""
    rng = np.random.default_rng(0)
    samples = []
    for index, (height, width) in enumerate(SIZES_HW):
        path = tmp_path / "images" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        cv2.imwrite(str(path), image)
        boxes = [[0, 0, width / 2, height], [width / 4, height / 4, width, height / 2]][: 0 if index == 1 else 2]
        difficult = np.array([index == 2, True])[: len(boxes)]
        boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        labels = np.array([1, 0])[: len(boxes)]
        samples.append(
            Sample(f"{index}", path, (height, width), boxes_xyxy, labels, difficult, np.zeros_like(difficult))
        )
    return DetectionDataset("made", "train", ("a", "b"), tuple(samples))


def wrapped(source: DetectionDataset, *, augment: bool, batch: int = 2, **hyp: Any) -> AugmentedDataset:
    return AugmentedDataset(source, image_size=32, hyp=get_cfg(overrides=hyp), augment=augment, batch=batch)


def files(source: DetectionDataset) -> set[str]:
    return {str(p) for p in source.samples[0].image_path.parents[1].rglob("*")}


def test_labels_are_normalized_and_without_difficult_objects(source: DetectionDataset) -> None:
    labels = wrapped(source, augment=False).labels
    assert labels[0]["bboxes"].tolist() == [[0.25, 0.5, 0.5, 1.0]]
    assert labels[0]["cls"].tolist() == [[1.0]]
    assert labels[1]["bboxes"].shape == labels[2]["bboxes"].shape == (0, 4)
    assert labels[1]["cls"].shape == labels[2]["cls"].shape == (0, 1)
    assert [label["shape"] for label in labels] == SIZES_HW


def test_images_are_bgr_with_their_longer_side_resized(source: DetectionDataset) -> None:
    made = wrapped(source, augment=False)
    for index, (height, width) in enumerate(SIZES_HW):
        image, original_hw, resized_hw = made.load_image(index)
        assert original_hw == (height, width)
        assert image.shape[:2] == resized_hw
        assert max(resized_hw) == 32
        assert min(resized_hw) == -(-min(height, width) * 32 // max(height, width))
    same = AugmentedDataset(source, image_size=64, hyp=get_cfg(), augment=False, batch=1)
    assert np.array_equal(same.load_image(1)[0], source.read_image(1)[..., ::-1])


def test_an_image_is_that_of_ultralytics(source: DetectionDataset) -> None:
    """Same resizing as its own reader, so that its augmentations get what they expect."""
    made = wrapped(source, augment=False)
    for index in range(len(source)):
        ours, *shapes = made.load_image(index)
        theirs, *expected = YOLODataset.load_image(made, index)
        assert np.array_equal(ours, theirs)
        assert shapes == expected


@pytest.mark.parametrize("augment", [True, False])
def test_items_are_network_inputs_and_nothing_is_written(source: DetectionDataset, augment: bool) -> None:
    before = files(source)
    made = wrapped(source, augment=augment, mosaic=1.0)
    seed_everything(0)
    items = [made[i] for i in range(len(made))]
    batch = made.collate_fn(items)
    assert batch["img"].shape == (5, 3, 32, 32)
    assert batch["img"].dtype == torch.uint8
    assert batch["bboxes"].shape[1] == 4
    assert batch["bboxes"].min() >= 0
    assert batch["bboxes"].max() <= 1
    assert files(source) == before


def test_without_augmentation_boxes_follow_the_letterbox(source: DetectionDataset) -> None:
    """20 x 40 becomes 16 x 32 with 8 rows of grey above and below."""
    item = wrapped(source, augment=False)[0]
    assert item["bboxes"].tolist() == [[0.25, 0.5, 0.5, 0.5]]
    assert item["cls"].tolist() == [[1.0]]


def test_a_small_set_stays_in_memory(source: DetectionDataset) -> None:
    made = wrapped(source, augment=True)
    assert made.cache == "ram"
    for index in range(len(made)):
        made[index]
    first = [image.copy() for image in made.ims]
    for index in range(len(made)):
        made[index]
    assert all(np.array_equal(image, old) for image, old in zip(made.ims, first, strict=True))
    assert np.shares_memory(made.load_image(0)[0], made.ims[0])


def test_a_large_set_keeps_a_bounded_buffer(source: DetectionDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    made = wrapped(source, augment=True)
    made.max_buffer_length = 3
    assert made.cache is None
    for _ in range(3):
        for index in range(len(made)):
            made.load_image(index)
            held = [i for i, image in enumerate(made.ims) if image is not None]
            assert sorted(set(made.buffer)) == held
            assert len(held) <= 3


def test_evaluation_keeps_nothing(source: DetectionDataset) -> None:
    made = wrapped(source, augment=False)
    for index in range(len(made)):
        made[index]
    assert made.ims == [None] * len(made)


def test_a_broken_image_is_a_data_error_with_ultralytics_loaded_too(source: DetectionDataset) -> None:
    source.samples[0].image_path.write_text("not an image")
    with pytest.raises(DataError, match=r"0\.png: not an image that can be read"):
        wrapped(source, augment=True)[0]


@pytest.mark.parametrize(("workers", "read"), [(2, 5), (0, 0)])
def test_loading_processes_find_the_images_read(source: DetectionDataset, workers: int, read: int) -> None:
    made = wrapped(source, augment=True, workers=workers)
    assert sum(image is not None for image in made.ims) == read


def test_loading_processes_that_are_spawned_get_all_of_it(source: DetectionDataset) -> None:
    """Windows and macOS start them anew, and send them the dataset."""
    dataset = wrapped(source, augment=True)
    received = pickle.loads(pickle.dumps(dataset))
    made = []
    for one in (dataset, received):
        seed_everything(0)
        made.append(one[0]["img"])
    assert torch.equal(*made)
    assert pickle.loads(pickle.dumps(start_worker)) is start_worker

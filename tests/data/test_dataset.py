"""Subsets, hold-outs and draws of a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikedet.common.errors import DataError
from spikedet.data import DetectionDataset, Sample
from spikedet.data.dataset import BoxIssues


def make_dataset(count: int, folder: Path = Path("nowhere")) -> DetectionDataset:
    samples = tuple(
        Sample(
            image_id=f"d/{index}",
            image_path=folder / f"{index}.png",
            image_hw=(3, 4),
            boxes_xyxy=np.zeros((0, 4), np.float32),
            labels=np.zeros(0, np.int64),
            difficult=np.zeros(0, np.bool_),
            crowd=np.zeros(0, np.bool_),
        )
        for index in range(count)
    )
    return DetectionDataset("d", "train", ("thing",), samples)


def ids(dataset: DetectionDataset) -> list[str]:
    return [sample.image_id for sample in dataset.samples]


def test_empty_dataset() -> None:
    dataset = make_dataset(0)
    assert len(dataset) == 0
    assert dataset.issues == BoxIssues(0, 0, ())
    assert len(dataset.draw(3, seed=0)) == 0
    assert [len(part) for part in dataset.hold_out(0.5, seed=0)] == [0, 0]


def test_subset_keeps_the_given_order_and_the_source() -> None:
    dataset = make_dataset(4)
    part = dataset.subset([3, 1], split="mine")
    assert ids(part) == ["d/3", "d/1"]
    assert (part.split, part.class_names) == ("mine", ("thing",))
    assert dataset.subset([0]).split == "train"
    assert len(dataset) == 4


@pytest.mark.parametrize(
    ("count", "fraction", "held"), [(10, 0.2, 2), (10, 0.0, 0), (10, 0.01, 1), (10, 1.0, 9), (1, 0.5, 0), (2, 0.5, 1)]
)
def test_hold_out_counts(count: int, fraction: float, held: int) -> None:
    rest, held_out = make_dataset(count).hold_out(fraction, seed=0)
    assert (len(rest), len(held_out)) == (count - held, held)


def test_hold_out_parts_are_disjoint_seeded_and_in_order() -> None:
    dataset = make_dataset(20)
    rest, held_out = dataset.hold_out(0.25, seed=1)
    assert sorted(ids(rest) + ids(held_out)) == sorted(ids(dataset))
    assert ids(rest) == [name for name in ids(dataset) if name in set(ids(rest))]
    assert ids(held_out) == ids(dataset.hold_out(0.25, seed=1)[1])
    assert ids(held_out) != ids(dataset.hold_out(0.25, seed=2)[1])
    assert (rest.split, held_out.split) == ("train-rest", "train-held-out")


def test_draw_is_seeded_without_replacement() -> None:
    dataset = make_dataset(20)
    drawn = ids(dataset.draw(8, seed=5))
    assert len(set(drawn)) == 8
    assert drawn == ids(dataset.draw(8, seed=5))
    assert drawn != ids(dataset.draw(8, seed=6))
    assert sorted(ids(dataset.draw(99, seed=5))) == sorted(ids(dataset))
    assert set(ids(dataset.hold_out(0.4, seed=5)[1])) == set(drawn)
    assert drawn == ids(dataset.draw(8, seed=5, held_out=(0.4, 5)))


def test_draw_takes_what_was_held_out_first() -> None:
    dataset = make_dataset(20)
    held = set(ids(dataset.hold_out(0.25, seed=1)[1]))
    drawn = ids(dataset.draw(8, seed=5, held_out=(0.25, 1)))
    assert set(drawn[:5]) == held and not held & set(drawn[5:])
    assert ids(dataset.draw(3, seed=5, held_out=(0.25, 1))) == drawn[:3]
    assert drawn != ids(dataset.draw(8, seed=6, held_out=(0.25, 1)))


def test_read_image_reads_the_sample_at_the_index(tmp_path: Path) -> None:
    dataset = make_dataset(2, tmp_path)
    Image.new("RGB", (4, 3), (1, 2, 3)).save(tmp_path / "1.png")
    image = dataset.read_image(1)
    assert image.shape == (3, 4, 3)
    assert image[0, 0].tolist() == [1, 2, 3]
    with pytest.raises(DataError, match=r"0\.png: image not found"):
        dataset.read_image(0)


def drawn(folder: Path, colour: str = "red", box: tuple[float, ...] = (0, 0, 2, 2)) -> DetectionDataset:
    """A dataset of one image, uncompressed: the file has as many bytes whatever it shows."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (4, 3), colour).save(folder / "0.png", "BMP")
    (sample,) = make_dataset(1, folder).samples
    boxed = replace(sample, boxes_xyxy=np.array([box], np.float32), labels=np.zeros(1, np.int64))
    return DetectionDataset("d", "train", ("thing", "other"), (boxed,))


def test_what_makes_images_and_boxes_the_same(tmp_path: Path) -> None:
    """What ``--resume`` compares."""
    facts = drawn(tmp_path / "a").image_facts()
    assert drawn(tmp_path / "b").image_facts() == facts  # another folder, and a path of another form
    assert drawn(tmp_path / "b" / ".." / "c").image_facts() == facts
    assert drawn(tmp_path / "a", colour="white").image_facts() != facts
    assert drawn(tmp_path / "a", box=(0, 0, 2, 1)).image_facts() != facts
    relabelled = drawn(tmp_path / "a")
    other = replace(relabelled.samples[0], labels=np.ones(1, np.int64))
    assert replace(relabelled, samples=(other,)).image_facts() != facts
    assert make_dataset(0).image_facts() == []

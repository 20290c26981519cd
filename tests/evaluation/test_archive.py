"""Detections on disk: the same back, and nothing from a file that is not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tiny_detector import sample_images

from spikedet.costs.counts import operation_counts
from spikedet.data import load_dataset
from spikedet.detections import Detections
from spikedet.evaluation.archive import Predicted, archive_key, load_predicted, save_predicted


def some(counts: list[int], seed: int) -> list[Detections]:
    random = np.random.default_rng(seed)
    return [Detections(random.random((n, 4)), random.random(n), random.integers(0, 9, n)) for n in counts]


def equal(a: list[Detections], b: list[Detections]) -> bool:
    return all(
        np.array_equal(x.boxes_xyxy, y.boxes_xyxy)
        and np.array_equal(x.scores, y.scores)
        and np.array_equal(x.labels, y.labels)
        for x, y in zip(a, b, strict=True)
    )


@settings(max_examples=30)
@given(counts=st.lists(st.integers(0, 3), min_size=1, max_size=5), steps=st.sets(st.integers(0, 60), min_size=1))
def test_what_was_saved_comes_back(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], steps: set[int]
) -> None:
    read = sorted(steps - {0})
    counted = torch.rand(2, 3, max(read, default=1), 2, dtype=torch.float64)
    operations = operation_counts([counted], read) if read else {}
    predicted = Predicted({t: some(counts, t) for t in steps}, {t: t / 3 for t in read}, operations)
    path = save_predicted(tmp_path_factory.mktemp("archive") / "a.safetensors", predicted)
    found = load_predicted(path, len(counts))
    assert found is not None
    assert (found.spikes, found.operations) == (predicted.spikes, predicted.operations)
    assert found.detections.keys() == steps
    assert all(equal(found.detections[t], predicted.detections[t]) for t in steps)


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "text", "other images"])
def test_a_file_that_is_not_whole_is_no_archive(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    content = save_predicted(path, Predicted({4: some([2, 0, 1], 0)}, {})).read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage != "other images":
        path.write_bytes({"truncated": content[:-9], "empty": b"", "text": b"no"}[damage])
    assert load_predicted(path, 2 if damage == "other images" else 3) is None


def test_an_archive_of_a_version_that_counted_nothing(tmp_path: Path) -> None:
    path = save_predicted(tmp_path / "a.safetensors", Predicted({4: some([2, 0, 1], 0)}, {4: 9.0}))
    save_file(load_file(path), path)  # without metadata
    found = load_predicted(path, 3)
    assert found is not None and (found.spikes, found.operations) == ({4: 9.0}, {})


def test_the_key_changes_with_images_and_facts() -> None:
    dataset = load_dataset(sample_images(), "test")
    keys = {
        archive_key(dataset, t=[4]),
        archive_key(dataset, t=[8]),
        archive_key(dataset, t=[4], mode="fast"),
        archive_key(dataset.subset([0, 1]), t=[4]),
        archive_key(load_dataset(sample_images(), "val"), t=[4]),
    }
    assert len(keys) == 5
    assert archive_key(dataset, t=[4]) in keys

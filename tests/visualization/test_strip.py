"""Tiles of a strip and frames of an animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from spikedet.detections import Detections
from spikedet.visualization.strip import GAP_PX, animation, save_animation, strip

IMAGE = np.full((60, 80, 3), 90, np.uint8)
NONE = Detections.empty()
ONE = Detections(np.array([[5.0, 5, 50, 40]], np.float32), np.array([0.5], np.float32), np.array([0]))


def test_a_column_per_step_and_a_row_per_network() -> None:
    one_row = strip(IMAGE, [("SNN", {1: NONE, 2: ONE, 4: ONE})], ["a"])
    two_rows = strip(IMAGE, [("A", {0: ONE}), ("SNN", {1: NONE, 2: ONE, 4: ONE}), ("Q", {0: ONE})], ["a"])
    assert one_row.shape[1] == 3 * 80 + 2 * GAP_PX
    assert two_rows.shape == (2 * one_row.shape[0], one_row.shape[1], 3)
    upper = two_rows[: one_row.shape[0]]
    assert not (upper[:, :80] == 255).all()
    assert (upper[:, 2 * 80 + GAP_PX :] == 255).all()  # networks without time have one tile each


def test_no_time_at_all_is_one_tile() -> None:
    assert strip(IMAGE, [("ANN", {0: ONE})], ["a"]).shape[1] == 80


def test_large_images_become_tiles() -> None:
    large = np.full((600, 1280, 3), 90, np.uint8)
    assert strip(large, [("SNN", {1: ONE})], ["a"], side=320).shape[1] == 320


def test_a_frame_per_step_and_the_last_answer_stays() -> None:
    frames = animation(IMAGE, [("ANN", {0: ONE}), ("A", {1: NONE, 2: ONE}), ("B", {1: NONE, 2: NONE, 4: ONE})], ["a"])
    assert len(frames) == 3
    assert len({frame.shape for frame in frames}) == 1
    first, second, third = (np.split(frame, [80, 80 + GAP_PX, 160 + GAP_PX, 160 + 2 * GAP_PX], 1) for frame in frames)
    assert np.array_equal(first[0], third[0])  # the ANN
    assert not np.array_equal(first[2], second[2]) and np.array_equal(second[2], third[2])
    assert not np.array_equal(second[4], third[4])


def test_an_animation_is_written_whole(tmp_path: Path) -> None:
    frames = animation(IMAGE, [("A", {1: NONE, 2: ONE})], ["a"])
    with Image.open(save_animation(tmp_path / "a.gif", frames)) as found:
        assert found.format == "GIF" and found.n_frames == 2  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]

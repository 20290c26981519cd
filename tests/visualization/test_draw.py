"""Boxes on pictures: what is painted, what stays, and sizes from tiny to large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from spikedet.data.images import read_image
from spikedet.detections import Detections
from spikedet.visualization import beside, draw_detections, save_picture
from spikedet.visualization.draw import OKABE_ITO

NAMES = tuple(f"class {i}" for i in range(20))


def grey(height: int = 100, width: int = 120) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), 128, np.uint8)


def found(*boxes: list[float], label: int = 0) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes), np.full(count, 0.5), np.full(count, label))  # type: ignore[arg-type]


def test_no_boxes_no_paint() -> None:
    assert np.array_equal(draw_detections(grey(), Detections.empty(), NAMES), grey())


@pytest.mark.parametrize("label", [0, 1, 5, len(OKABE_ITO), 19])
def test_a_box_has_its_classs_colour_in_rgb(label: int) -> None:
    drawn = draw_detections(grey(), found([20, 40, 100, 90], label=label), NAMES)
    code = OKABE_ITO[label % len(OKABE_ITO)]
    colour = [int(code[i : i + 2], 16) for i in (1, 3, 5)]
    assert drawn[65, 20].tolist() == drawn[90, 60].tolist() == colour
    assert drawn[65, 60].tolist() == [128, 128, 128]


def test_the_picture_given_stays() -> None:
    image = grey()
    drawn = draw_detections(image, found([10, 10, 50, 50]), NAMES)
    assert np.array_equal(image, grey())
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (33, 500), (1200, 1600)])
def test_pictures_of_any_size(height: int, width: int) -> None:
    drawn = draw_detections(grey(height, width), found([0, 0, width, height], [1, 1, 3, 3]), NAMES)
    assert drawn.shape == (height, width, 3)
    assert (drawn != 128).any()


def test_a_picture_that_may_not_be_written_to() -> None:
    image = grey()
    image.setflags(write=False)
    draw_detections(image, found([10, 10, 50, 50]), NAMES)


def test_side_by_side() -> None:
    left, right = np.zeros((2, 3, 3), np.uint8), np.full((2, 5, 3), 9, np.uint8)
    both = beside([left, right])
    assert both.shape == (2, 3 + 4 + 5, 3)
    assert np.array_equal(both[:, :3], left)
    assert np.array_equal(both[:, 7:], right)
    assert (both[:, 3:7] == 255).all()
    assert np.array_equal(beside([left]), left)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_suffix_chooses_the_format(tmp_path: Path, suffix: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    path = save_picture(tmp_path / "new" / f"a{suffix}", image)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert np.array_equal(read_image(path), image) == (suffix == ".png")

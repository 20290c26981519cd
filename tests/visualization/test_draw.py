"""Boxes on images: what is painted, what stays, and sizes from tiny to large."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from spikedet.data.images import read_image
from spikedet.detections import Detections
from spikedet.visualization.draw import (
    OKABE_ITO,
    TEXT_ON,
    DrawingSizes,
    beside,
    broken_line,
    draw_detections,
    draw_lines,
    save_image,
    text_wh,
)

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


def test_the_image_given_stays() -> None:
    image = grey()
    drawn = draw_detections(image, found([10, 10, 50, 50]), NAMES)
    assert np.array_equal(image, grey())
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert (drawn != image).any()


@pytest.mark.parametrize(("height", "width"), [(8, 8), (33, 500), (1200, 1600)])
def test_images_of_any_size(height: int, width: int) -> None:
    drawn = draw_detections(grey(height, width), found([0, 0, width, height], [1, 1, 3, 3]), NAMES)
    assert drawn.shape == (height, width, 3)
    assert (drawn != 128).any()


def test_an_image_that_may_not_be_written_to() -> None:
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
    path = save_image(tmp_path / "new" / f"a{suffix}", image)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert np.array_equal(read_image(path), image) == (suffix == ".png")


# --- sizes that can be read -----------------------------------------------------------------------------------------


def painted(image: npt.NDArray[np.uint8], code: str) -> npt.NDArray[np.bool_]:
    """Where an image has a colour."""
    return np.asarray((image == [int(code[i : i + 2], 16) for i in (1, 3, 5)]).all(2))


@pytest.mark.parametrize(("width", "height"), [(160, 120), (160, 160), (640, 480), (1920, 1080), (3840, 2160)])
def test_letters_are_a_fiftieth_of_the_image_or_ten_pixels(width: int, height: int) -> None:
    sizes = DrawingSizes.of((width, height))
    letters = text_wh("person", sizes)[1] - 2 * sizes.padding_px
    assert 10 <= letters <= max(16, height / 25)
    assert letters >= height / 50
    assert 1 <= sizes.line_px <= max(1, height / 200)
    assert text_wh("diningtable 0.85", sizes)[0] <= width


def test_lines_are_thicker_on_larger_images() -> None:
    lines = [DrawingSizes.of(size).line_px for size in ((160, 160), (640, 640), (1920, 1080), (3840, 2160))]
    assert lines == sorted(set(lines))


@pytest.mark.parametrize(("width", "height"), [(160, 120), (3840, 2160)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.9, 0.0), (0.9, 0.9), (0.0, 0.9)])
def test_a_label_stays_inside_the_image(width: int, height: int, place: tuple[float, float]) -> None:
    """Its whole area is there: in a corner as much is painted as in the middle."""
    sizes = DrawingSizes.of((width, height))
    wide, high = text_wh("class 0 0.50", sizes)

    def area(x: float, y: float) -> int:
        box = [x * width, y * height, (x + 0.1) * width, (y + 0.1) * height]
        drawn = draw_detections(grey(height, width), found(box), NAMES)
        return int((drawn != 128).any(2).sum())

    assert area(*place) >= 0.95 * wide * high


def test_labels_make_room_for_each_other() -> None:
    boxes = found([10, 20, 50, 40], [12, 22, 52, 42])
    both = Detections(boxes.boxes_xyxy, boxes.scores, np.array([0, 1]))
    drawn = draw_detections(grey(), both, NAMES)
    wide, high = text_wh("class 0 0.50", DrawingSizes.of((120, 100)))
    for code in OKABE_ITO[:2]:
        assert painted(drawn, code).sum() > 0.5 * wide * high


def test_track_ids_are_shown_where_there_are_some() -> None:
    two = found([10, 60, 50, 90], [60, 60, 100, 90])
    without = draw_detections(grey(), two, NAMES)
    assert np.array_equal(draw_detections(grey(), replace(two, track_ids=(None, None)), NAMES), without)
    assert not np.array_equal(draw_detections(grey(), replace(two, track_ids=(None, 7)), NAMES), without)


def luminance(code: str) -> float:
    """WCAG's relative luminance."""
    channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize(("colour", "text"), zip(OKABE_ITO, TEXT_ON, strict=True))
def test_text_has_contrast(colour: str, text: str) -> None:
    """4.5 is what WCAG 2 asks for."""
    dark, light = sorted((luminance(colour), luminance(text)))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize(("height", "width"), [(120, 160), (1080, 1920)])
def test_lines_of_text(height: int, width: int) -> None:
    image = grey(height, width)
    assert np.array_equal(draw_lines(image, []), image)
    drawn = draw_lines(image, ["t = 4", "12 fps"])
    assert np.array_equal(image, grey(height, width))
    changed = (drawn != 128).any(2)
    assert changed[0, 0] and not changed[height // 2 :].any()
    assert drawn.max() > 200 and drawn.min() == 0


def test_long_lines_are_broken_between_words() -> None:
    sizes = DrawingSizes.of((160, 120))
    parts = broken_line("camera 0: no such camera, or another program is using it", 160, sizes)
    assert len(parts) > 1
    assert " ".join(parts) == "camera 0: no such camera, or another program is using it"
    assert all(text_wh(part, sizes)[0] <= 160 for part in parts)
    assert broken_line("", 160, sizes) == [""]
    assert broken_line("w" * 99, 160, sizes) == ["w" * 99]
    assert broken_line("t = 4", 160, sizes) == ["t = 4"]

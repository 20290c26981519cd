"""Class names in any script: drawn where OpenCV has the letters, else numbered and listed beside."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np
import pytest

from spikedet.detections import Detections
from spikedet.visualization.draw import DrawingSizes, draw_detections, draw_lines, text_wh
from spikedet.visualization.letters import can_draw, drawable, name_to_draw, names_beside

NEW_OPENCV = int(cv2.__version__.split(".")[0]) >= 5
SOME = ["Fußgänger", "vélo", "велосипед", "αυτοκίνητο", "汽车", "自転車", "자동차", "größe 1½", "đường", "œuvre"]
NONE = ["รถยนต์", "गाड़ी", "سيارة", "מכונית", "গাড়ি", "వాహనం", "car 😀", "a\udcff", "\ud800", "كار", "ಕಾರು"]


def grey(size: int = 200) -> np.ndarray:
    return np.full((size, 2 * size, 3), 128, np.uint8)


def found(label: int) -> Detections:
    return Detections(np.array([[60, 90, 200, 150]]), np.array([0.5]), np.array([label]))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.skipif(not NEW_OPENCV, reason="this OpenCV draws ASCII alone")
def test_names_in_scripts_that_opencv_has(name: str) -> None:
    assert can_draw(name) and drawable(name) == name
    assert names_beside([name]) == ""
    drawn = [draw_detections(grey(), found(0), [text]) for text in (name, "?" * len(name))]  # type: ignore[arg-type]
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize("name", NONE)
def test_other_names_are_numbers_and_listed(name: str) -> None:
    names = ("person", name)
    assert not can_draw(name)
    assert name_to_draw(names, 1) == "class 1"
    assert names_beside(names) == f"drawn as numbers, for want of their letters: class 1 is {name}"
    drawn = [draw_detections(grey(), found(1), text) for text in (names, ("", "class 1"))]  # type: ignore[arg-type]
    assert np.array_equal(*drawn)


@pytest.mark.parametrize("text", [*SOME, *NONE])
def test_lines_of_any_text_are_drawn(text: str) -> None:
    assert text_wh(text, DrawingSizes.of((200, 200)))[0] > 0
    assert (draw_lines(grey(), [text]) != 128).any()  # type: ignore[arg-type]


def test_letters_with_marks_of_their_own_are_joined() -> None:
    assert name_to_draw([unicodedata.normalize("NFD", "vélo")], 0) == ("vélo" if NEW_OPENCV else "class 0")


def test_plain_names_stay() -> None:
    assert names_beside(["person", "dining table", "a#1?"]) == ""
    assert names_beside([]) == ""

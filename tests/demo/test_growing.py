"""The piece of page that shows what several networks see."""

from __future__ import annotations

import re

import numpy as np

from spikedet.demo.growing import SHOWN_SIDE, as_html
from spikedet.detections import Detections
from spikedet.inference.comparison import View

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def view(title: str, steps: list[int]) -> View:
    boxes = Detections(np.array([[4.0, 4, 30, 30]], np.float32), np.array([0.5], np.float32), np.array([1]))
    return View(title, {t: boxes if t == steps[-1] else Detections.empty() for t in steps}, ("a", "b<c"), 0.0123)


def test_the_page_shows_the_last_answer_and_holds_the_others() -> None:
    text = as_html(IMAGE, [view("ANN", [0]), view("SNN <4>", [1, 2, 4])])
    assert 'data-steps="[1, 2, 4]"' in text
    assert 'min="0" max="2" value="2"' in text and "<output>4</output>" in text
    assert re.findall(r'data-t="(\d+)"( hidden)?', text) == [("0", ""), ("1", " hidden"), ("2", " hidden"), ("4", "")]
    assert text.count("data:image/jpeg;base64,") == 4
    assert "SNN &lt;4&gt;" in text and "1 b&lt;c" in text and text.count("nothing yet") == 2
    assert "12 ms" in text


def test_without_time_there_is_no_slider() -> None:
    assert "range" not in as_html(IMAGE, [view("ANN", [0])])


def test_large_images_are_shown_smaller() -> None:
    small = as_html(np.zeros((SHOWN_SIDE, SHOWN_SIDE, 3), np.uint8), [view("ANN", [0])])
    large = as_html(np.zeros((4 * SHOWN_SIDE, 4 * SHOWN_SIDE, 3), np.uint8), [view("ANN", [0])])
    assert len(large) < 2 * len(small)


def test_an_image_of_one_row_is_shown() -> None:
    assert "data:image" in as_html(np.zeros((1, 3000, 3), np.uint8), [view("ANN", [0])])

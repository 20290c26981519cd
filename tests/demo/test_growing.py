"""One picture through several networks, and the piece of page that shows it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tiny_detector import T, chain

from spikedet.config import SimulationConfig
from spikedet.demo.family import Member, load_family
from spikedet.demo.growing import MOST_STOPS, SHOWN_SIDE, Column, as_html, look, stops
from spikedet.detections import Detections
from spikedet.errors import CheckpointError

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return load_family([str(chain()["fine"])], SimulationConfig())


def test_a_network_stands_after_those_it_came_from(members: list[Member]) -> None:
    titles = [member.title for member in members]
    assert titles == ["ANN", "QC-ANN, T = 4", "SNN, weights copied, T = 4", "SNN + coarse + fine, T = 4"]


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(CheckpointError, match="no-such-network"):
        load_family(["no-such-network"], SimulationConfig())


@pytest.mark.parametrize(("steps", "expected"), [(1, [1]), (4, [1, 2, 3, 4]), (16, list(range(1, 17)))])
def test_the_slider_stops_at_every_step_where_they_are_few(steps: int, expected: list[int]) -> None:
    assert stops(steps) == expected


def test_where_they_are_many_the_early_ones_are_closer_together() -> None:
    found = stops(200)
    assert len(found) <= MOST_STOPS
    assert (found[0], found[-1]) == (1, 200)
    gaps = np.diff(found)
    assert gaps[0] == 1 and gaps[-1] == gaps.max()


def test_every_network_looks_once(members: list[Member]) -> None:
    columns = look(PICTURE, members, confidence=0.01)
    assert [list(column.found) for column in columns] == [[0], [0], list(range(1, T + 1)), list(range(1, T + 1))]
    direct = members[-1].detector(PICTURE, [2, T], confidence=0.01)
    for t, detections in direct.items():
        assert np.array_equal(columns[-1].found[t].boxes_xyxy, detections.boxes_xyxy)


def test_early_exit_stops_where_nothing_changes(members: list[Member]) -> None:
    columns = look(PICTURE, members, confidence=0.999, stable_steps=1)  # nothing is found, twice in a row
    assert [list(column.found) for column in columns] == [[0], [0], [1, 2], [1, 2]]


def column(title: str, steps: list[int]) -> Column:
    boxes = Detections(np.array([[4.0, 4, 30, 30]], np.float32), np.array([0.5], np.float32), np.array([1]))
    return Column(title, {t: boxes if t == steps[-1] else Detections.empty() for t in steps}, ("a", "b<c"), 0.0123)


def test_the_page_shows_the_last_answer_and_holds_the_others() -> None:
    text = as_html(PICTURE, [column("ANN", [0]), column("SNN <4>", [1, 2, 4])])
    assert 'data-steps="[1, 2, 4]"' in text
    assert 'min="0" max="2" value="2"' in text and "<output>4</output>" in text
    assert re.findall(r'data-t="(\d+)"( hidden)?', text) == [("0", ""), ("1", " hidden"), ("2", " hidden"), ("4", "")]
    assert text.count("data:image/jpeg;base64,") == 4
    assert "SNN &lt;4&gt;" in text and "1 b&lt;c" in text and text.count("nothing yet") == 2
    assert "12 ms" in text


def test_without_time_there_is_no_slider() -> None:
    assert "range" not in as_html(PICTURE, [column("ANN", [0])])


def test_large_pictures_are_shown_smaller() -> None:
    small = as_html(np.zeros((SHOWN_SIDE, SHOWN_SIDE, 3), np.uint8), [column("ANN", [0])])
    large = as_html(np.zeros((4 * SHOWN_SIDE, 4 * SHOWN_SIDE, 3), np.uint8), [column("ANN", [0])])
    assert len(large) < 2 * len(small)


def test_a_picture_of_one_row_is_shown() -> None:
    assert "data:image" in as_html(np.zeros((1, 3000, 3), np.uint8), [column("ANN", [0])])

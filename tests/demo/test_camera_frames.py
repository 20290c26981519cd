"""Frames that a browser sends: what comes back, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_detector import T, chain

from spikedet.common.errors import DataError
from spikedet.config import SimulationConfig
from spikedet.demo.settings import Settings
from spikedet.demo.webcam import MAX_FRAME_SIDE, decoded, detect_frame
from spikedet.inference.comparison import Member, load_family

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SENT = cv2.imencode(".png", FRAME[..., ::-1])[1].tobytes()


@pytest.fixture(scope="module")
def member() -> Member:
    return load_family([str(chain()["fine"])], SimulationConfig())[-1]


def test_boxes_are_the_detectors(member: Member) -> None:
    output = detect_frame(member, SENT, Settings(T, 0.01, 0))
    direct = member.detector(FRAME, T, confidence=0.01)[T]
    assert [box["label"] for box in output["boxes"]] == direct.labels.tolist()
    assert np.allclose([box["box_xyxy"] for box in output["boxes"]], direct.boxes_xyxy)
    assert f"t = {T}, firing rate " in output["words"]
    assert re.search(r" spikes, \d+ M SOPs \(ANN: \d+ M MACs\)$", output["words"])
    json.dumps(output)  # what goes to the browser
    assert detect_frame(member, SENT, Settings(99, 0.01, 0)) == output  # t lies within the window


def test_an_early_exit_is_said(member: Member) -> None:
    assert "t = 2" in detect_frame(member, SENT, Settings(T, 0.999, 1))["words"]


def test_a_network_without_time_answers_too() -> None:
    ann = load_family([str(chain()["ann"])], SimulationConfig())[0]
    assert "boxes" in detect_frame(ann, SENT, Settings(T, 0.01, 0))


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ({}, Settings(1, 0.25, 0)),
        ({"t": "0", "confidence": "0", "stable_steps": "-1"}, Settings(1, 0.01, 0)),
        ({"t": "2.7", "confidence": "7", "stable_steps": "1e9"}, Settings(2, 1.0, 64)),
        ({"t": "many", "confidence": "nan", "stable_steps": "inf"}, Settings(1, 0.25, 0)),
    ],
)
def test_settings_lie_within_bounds(query: dict[str, str], settings: Settings) -> None:
    assert Settings.of(query) == settings


def test_colours_are_not_swapped() -> None:
    assert np.array_equal(decoded(SENT), FRAME)


@pytest.mark.parametrize("error", [OSError, SyntaxError, IndexError, MemoryError, RuntimeError("codec")])
def test_whatever_a_decoder_raises_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("PIL.Image.Image.convert", fail)
    with pytest.raises(DataError, match=r"^the frame is damaged$"):
        decoded(SENT)


def test_a_small_file_of_a_huge_image_is_not_decoded() -> None:
    huge = cv2.imencode(".png", np.zeros((8, MAX_FRAME_SIDE + 1), np.uint8))[1].tobytes()
    with pytest.raises(DataError, match="larger than 4096 pixels"):
        decoded(huge)

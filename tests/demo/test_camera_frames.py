"""Frames that a browser sends: what comes back, and what is refused."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_detector import IMAGE_SIZE, T, chain

from spikedet.common.errors import DataError
from spikedet.config import SimulationConfig
from spikedet.demo.webcam import MAX_FRAME_BYTES, MAX_FRAME_SIDE, make_look, parse_request, webcam_html
from spikedet.inference.comparison import Member, load_family

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def member() -> Member:
    return load_family([str(chain()["fine"])], SimulationConfig())[-1]


def request(**changes: Any) -> dict[str, Any]:
    encoded = base64.b64encode(cv2.imencode(".png", FRAME[..., ::-1])[1].tobytes()).decode()
    return {"frame": encoded, "t": T, "confidence": 0.01, "stable_steps": 0, **changes}


def test_boxes_are_the_detectors(member: Member) -> None:
    output = make_look(member)(request())
    direct = member.detector(FRAME, T, confidence=0.01)[T]
    assert [box["label"] for box in output["boxes"]] == direct.labels.tolist()
    assert np.allclose([box["box_xyxy"] for box in output["boxes"]], direct.boxes_xyxy)
    assert f"t = {T}, firing rate " in output["words"]
    assert re.search(r" spikes, \d+ M SOPs \(ANN: \d+ M MACs\)$", output["words"])
    json.dumps(output)  # what goes to the browser


def test_an_early_exit_is_said(member: Member) -> None:
    assert "t = 2" in make_look(member)(request(confidence=0.999, stable_steps=1))["words"]


def test_a_network_without_time_answers_too() -> None:
    ann = load_family([str(chain()["ann"])], SimulationConfig())[0]
    assert "boxes" in make_look(ann)(request())


@pytest.mark.parametrize(("asked", "got"), [(0, 1), (-3, 1), (2.7, 2), (99, T)])
def test_t_lies_within_the_window(asked: float, got: int) -> None:
    assert parse_request(request(t=asked), T)[1] == got


def test_colours_are_not_swapped() -> None:
    assert np.array_equal(parse_request(request(), T)[0], FRAME)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "text",
        {},
        request(frame=None),
        request(frame="not base64!"),
        request(frame=""),
        request(frame=base64.b64encode(b"no image").decode()),
        request(frame="A" * (MAX_FRAME_BYTES + 4)),
        request(t="many"),
        request(confidence=float("nan")),
        request(stable_steps=None),
    ],
    ids=lambda broken: str(broken)[:30],
)
def test_what_is_no_frame_gets_a_sentence(member: Member, broken: Any) -> None:
    with pytest.raises(DataError, match="frame"):
        parse_request(broken, T)
    assert list(make_look(member)(broken)) == ["error"]


@pytest.mark.parametrize("error", [OSError, SyntaxError, IndexError, MemoryError, RuntimeError("codec")])
def test_whatever_a_decoder_raises_is_a_sentence(member: Member, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("PIL.Image.Image.convert", fail)
    assert make_look(member)(request()) == {"error": "the frame is damaged"}


def test_a_small_file_of_a_huge_image_is_not_decoded() -> None:
    huge = base64.b64encode(cv2.imencode(".png", np.zeros((8, MAX_FRAME_SIDE + 1), np.uint8))[1].tobytes()).decode()
    with pytest.raises(DataError, match="larger than 4096 pixels"):
        parse_request(request(frame=huge), T)


def test_the_page_knows_size_and_colours() -> None:
    text = webcam_html(IMAGE_SIZE)
    assert f'data-side="{IMAGE_SIZE}"' in text and "#E69F00" in text


@pytest.mark.parametrize("error", [ZeroDivisionError, IndexError, AttributeError, RecursionError, MemoryError, OSError])
def test_whatever_a_decoder_raises_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(*_: object) -> None:
        raise error("odd")

    monkeypatch.setattr("PIL.Image.Image.convert", fail)
    with pytest.raises(DataError, match="the frame is damaged"):
        parse_request(request(), T)

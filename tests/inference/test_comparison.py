"""The networks beside each other, and what they see on one image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_detector import T, chain

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.commands.calibrate import calibrate
from spikedet.commands.convert import convert
from spikedet.common.errors import CheckpointError
from spikedet.config import CalibrateConfig, ConvertConfig, GrowConfig, SimulationConfig
from spikedet.inference.comparison import MOST_STOPS, Member, load_family, look, stops
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.network import SnnNetwork, load_network

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return load_family([str(chain()["fine"])], SimulationConfig())


def test_a_network_stands_after_those_it_came_from(members: list[Member]) -> None:
    titles = [member.title for member in members]
    assert titles == [
        "ANN",
        "QC-ANN, T = 4",
        "SNN, weights copied, Stage I, T = 4",
        "SNN + coarse + fine, Stage I, T = 4",
    ]


def test_the_default_family_is_an_ann_its_qc_ann_and_the_spiking_network() -> None:
    found = load_family(GrowConfig(source="a.jpg").weights.split(","), SimulationConfig())
    assert [member.title for member in found] == [
        "ANN",
        "QC-ANN, T = 8",
        "SNN, weights copied, Stage I, delay 8, T = 8",
    ]


def orphan(stage: str, folder: Path, **changed: Any) -> str:
    """A checkpoint that does not say where it came from."""
    tensors, meta = load_checkpoint(chain()[stage])
    made = dataclasses.replace(meta, parent=None, **changed)
    return str(save_checkpoint(folder / f"{stage}.safetensors", tensors, made))


def test_a_calibrated_network_stands_beside_itself_before_calibration(tmp_path: Path, members: list[Member]) -> None:
    found = load_family([orphan("qc", tmp_path), orphan("fine", tmp_path)], SimulationConfig())
    made, converted = found[-2], members[-2]
    assert [member.title for member in found][-3:] == [member.title for member in members][-3:]
    for t, detections in made.detector(IMAGE, [1, T], confidence=0.01).items():
        assert np.array_equal(detections.scores, converted.detector(IMAGE, [t], confidence=0.01)[t].scores)


def test_a_network_whose_layers_wait_stands_beside_itself_with_the_same_waits(tmp_path: Path) -> None:
    (copied,) = convert(ConvertConfig(checkpoint=str(chain()["qc"]), latency=9, theta_images=2, out=str(tmp_path)))
    (coarse,) = calibrate(CalibrateConfig(checkpoint=str(copied), images=5, fine=False))
    titles = [member.title for member in load_family([str(coarse)], SimulationConfig())]
    assert titles[-2:] == [f"SNN{how}, Stage I, latency 9, T = {T}" for how in (", weights copied", " + coarse")]
    tensors, meta = load_checkpoint(coarse)
    alone = save_checkpoint(tmp_path / "alone" / "coarse.safetensors", tensors, dataclasses.replace(meta, parent=None))
    found = load_family([orphan("qc", tmp_path), str(alone)], SimulationConfig())
    assert [member.title for member in found][-2:] == titles[-2:]
    before = load_network(copied)
    assert isinstance(before, SnnNetwork) and before.latency(T) > T  # type: ignore[operator]
    made = found[-2].detector.network
    assert isinstance(made, SnnNetwork)
    delays = [[layer.delay for _, layer in one.network.spiking()] for one in (made, before)]
    assert delays[0] == delays[1]
    for t, detections in found[-2].detector(IMAGE, [1, T], confidence=0.01).items():
        expected = SpikingDetector.load(copied)(IMAGE, [t], confidence=0.01)[t]
        assert np.array_equal(detections.scores, expected.scores)


def test_a_network_of_another_method_has_no_earlier_self(tmp_path: Path) -> None:
    """It was not converted from the QC-ANN."""
    other = {"method": "sfa", "D": T}
    found = load_family([orphan("qc", tmp_path), orphan("fine", tmp_path, **other)], SimulationConfig())
    assert [member.detector.meta.stage for member in found] == ["ann", "qc", "fine"]


@pytest.mark.parametrize("changed", [{"finetuned": False}, {"class_names": ("a", "b", "c", "d")}])
def test_a_network_that_came_from_elsewhere_has_no_earlier_self(tmp_path: Path, changed: dict[str, Any]) -> None:
    found = load_family([orphan("qc", tmp_path), orphan("fine", tmp_path, **changed)], SimulationConfig())
    assert not [member.title for member in found if "copied" in member.title]


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
    views = look(IMAGE, members, confidence=0.01)
    assert [list(view.found) for view in views] == [[0], [0], list(range(1, T + 1)), list(range(1, T + 1))]
    direct = members[-1].detector(IMAGE, [2, T], confidence=0.01)
    for t, detections in direct.items():
        assert np.array_equal(views[-1].found[t].boxes_xyxy, detections.boxes_xyxy)


def test_early_exit_stops_where_nothing_changes(members: list[Member]) -> None:
    views = look(IMAGE, members, confidence=0.999, stable_steps=1)  # nothing is found, twice in a row
    assert [list(view.found) for view in views] == [[0], [0], [1, 2], [1, 2]]


def test_steps_that_are_asked_for_are_those_read_out(members: list[Member]) -> None:
    views = look(IMAGE, members, confidence=0.01, steps=[1, 3, 100])
    assert [list(view.found) for view in views] == [[0], [0], [1, 3, T], [1, 3, T]]

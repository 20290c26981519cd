"""The Python interface, against the networks it is made of."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tiny_detector import IMAGE_SIZE, T, chain

import spikedet
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import SimulationConfig
from spikedet.conversion import load_spiking
from spikedet.costs.operations import OperationCounter, layer_synapses
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES
from spikedet.data.transforms import to_input
from spikedet.detections import Detections
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.early_exit import same
from spikedet.inference.network import load_network
from spikedet.models.postprocess import to_detections
from spikedet.snn import Simulation, simulate
from spikedet.snn.backends.dense import TorchBackend

HEIGHT, WIDTH = 50, 70


def sample_image() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def equal(a: Detections, b: Detections) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes_xyxy", "scores", "labels"))


@pytest.fixture(scope="module")
def fine() -> SpikingDetector:
    return SpikingDetector.load(chain()["fine"])


def test_it_is_a_public_name() -> None:
    assert spikedet.SpikingDetector is SpikingDetector


@pytest.mark.parametrize(("stage", "steps"), [("ann", None), ("qc", T), ("copied", T), ("fine", T)])
def test_what_a_detector_knows_of_itself(stage: str, steps: int | None) -> None:
    made = SpikingDetector.load(str(chain()[stage]))
    assert steps == made.T
    assert made.class_names == SYNTHETIC_CLASS_NAMES
    assert made.meta.stage == stage


@pytest.mark.parametrize(
    ("t", "found"), [(None, [T]), (2, [2]), ([1, 3], [1, 3]), ((4,), [4]), ([3, 1], [1, 3]), ([], [T])]
)
def test_outputs_at_the_steps_asked_for(fine: SpikingDetector, t: Any, found: list[int]) -> None:
    assert list(fine(sample_image(), t)) == found


@pytest.mark.parametrize("stage", ["ann", "qc"])
@pytest.mark.parametrize("t", [None, 4, [2, 8]])
def test_a_network_without_time_answers_under_0(stage: str, t: Any) -> None:
    assert list(SpikingDetector.load(chain()[stage])(sample_image(), t)) == [0]


@pytest.mark.parametrize("stage", ["ann", "qc", "fine"])
def test_boxes_are_the_networks_after_suppression(stage: str) -> None:
    network = load_network(chain()[stage])
    steps = network.steps([])
    decoded = network(to_input([sample_image()], IMAGE_SIZE), steps)[steps[0]].decoded
    (expected,) = to_detections(decoded, IMAGE_SIZE, [(HEIGHT, WIDTH)], 0.1, 0.5)
    found = SpikingDetector.load(chain()[stage])(sample_image(), confidence=0.1, iou=0.5)[steps[0]]
    assert equal(found, expected)
    assert len(found) > 10


def test_one_run_answers_like_several(fine: SpikingDetector) -> None:
    together = fine(sample_image(), [1, 2, 4])
    for t, found in together.items():
        assert equal(found, fine(sample_image(), t)[t])


def test_arrays_and_files_of_a_image_give_the_same(fine: SpikingDetector, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(sample_image()).save(path)
    of_array, of_path, of_text = (fine(image)[T] for image in (sample_image(), path, str(path)))
    assert equal(of_array, of_path)
    assert equal(of_array, of_text)


def test_boxes_lie_in_the_image(fine: SpikingDetector) -> None:
    boxes = fine(sample_image(), confidence=0.001)[T].boxes_xyxy
    assert boxes.min() >= 0
    assert (boxes[:, [0, 2]] <= WIDTH).all()
    assert (boxes[:, [1, 3]] <= HEIGHT).all()
    assert boxes[:, 2].max() > IMAGE_SIZE


def test_confidence_and_overlap_thin_out(fine: SpikingDetector) -> None:
    few, many = (fine(sample_image(), confidence=confidence)[T] for confidence in (0.6, 0.55))
    assert few.scores.min() >= 0.6
    assert 0 < len(few) < len(many)
    assert len(fine(sample_image(), confidence=0.55, iou=0.1)[T]) < len(many)


def test_nothing_above_the_confidence_is_no_detection(fine: SpikingDetector) -> None:
    found = fine(sample_image(), [2, 4], confidence=1.0)
    assert {t: detections.boxes_xyxy.shape for t, detections in found.items()} == {2: (0, 4), 4: (0, 4)}


def test_the_image_given_stays_and_runs_are_repeatable(fine: SpikingDetector) -> None:
    image = sample_image()
    first, second = fine(image)[T], fine(image)[T]
    assert equal(first, second)
    assert np.array_equal(image, sample_image())


@pytest.mark.parametrize("t", [8, [2, 8], [8, 2]])
def test_a_step_beyond_the_window_is_an_error(fine: SpikingDetector, t: Any) -> None:
    with pytest.raises(ConfigError, match=r"the network was converted for T = 4; time steps must lie in 1\.\.T"):
        fine(sample_image(), t)


@pytest.mark.parametrize("t", [0, [0, 2], -1])
def test_a_step_below_1_is_an_error(fine: SpikingDetector, t: Any) -> None:
    with pytest.raises(ConfigError, match=r"time steps must lie in 1\.\.T"):
        fine(sample_image(), t)


def test_numpy_integers_are_steps_too(fine: SpikingDetector) -> None:
    assert list(fine(sample_image(), np.int64(2))) == [2]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        [[0, 0, 0]],
    ],
)
def test_an_array_that_is_no_rgb_image_is_refused(fine: SpikingDetector, image: Any) -> None:
    with pytest.raises(DataError, match=r"expected an image as RGB \[H, W, 3\] uint8, got "):
        fine(image)


def test_missing_images_and_checkpoints_are_named(fine: SpikingDetector, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: image not found"):
        fine(tmp_path / "none.jpg")
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such checkpoint"):
        SpikingDetector.load(tmp_path / "none.safetensors")


# --- step by step ---------------------------------------------------------------------------------------------------


def like_before(found: dict[int, Detections], stable_steps: int) -> list[int]:
    """The steps up to the first that ends a row of ``stable_steps`` outputs like the one before."""
    steps, row = list(found), 0
    for before, step in pairwise(steps):
        row = row + 1 if same(found[before], found[step]) else 0
        if row == stable_steps:
            return steps[: steps.index(step) + 1]
    return steps


def test_a_stream_answers_at_every_step(fine: SpikingDetector) -> None:
    assert [t for t, _ in fine.stream(sample_image())] == [1, 2, 3, 4]
    assert [t for t, _ in fine.stream(sample_image(), [])] == [1, 2, 3, 4]


@pytest.mark.parametrize("t", [[2], [1, 3], (4, 2)])
def test_a_stream_answers_for_the_steps_asked(fine: SpikingDetector, t: Any) -> None:
    assert [step for step, _ in fine.stream(sample_image(), t)] == sorted(t)


def test_a_stream_says_what_a_call_says(fine: SpikingDetector) -> None:
    together = fine(sample_image(), [1, 2, 3, 4], confidence=0.6, iou=0.5)
    streamed = dict(fine.stream(sample_image(), confidence=0.6, iou=0.5))
    assert list(streamed) == list(together)
    assert all(equal(streamed[t], together[t]) for t in together)
    assert len({len(found) for found in streamed.values()}) > 1


def test_a_stream_takes_images_from_files_too(fine: SpikingDetector, tmp_path: Path) -> None:
    Image.fromarray(sample_image()).save(tmp_path / "image.png")
    for (_, of_file), (_, of_array) in zip(
        fine.stream(tmp_path / "image.png"), fine.stream(sample_image()), strict=True
    ):
        assert equal(of_file, of_array)


@pytest.mark.parametrize("how", [{"backend": "torch"}, {"mode": "fast"}, {"backend": "torch", "mode": "fast"}], ids=str)
def test_a_stream_says_what_a_call_says_however_it_is_simulated(how: dict[str, Any]) -> None:
    detector = SpikingDetector.load(chain()["fine"], SimulationConfig(**how))
    together = detector(sample_image(), [1, 2, 3, 4])
    assert all(equal(found, together[t]) for t, found in detector.stream(sample_image()))


def test_an_answer_is_there_before_the_next_step_is_simulated(
    fine: SpikingDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[int] = []
    advance = Simulation.advance

    def watched(simulation: Simulation, steps: int) -> Any:
        clocks.append(steps)
        return advance(simulation, steps)

    monkeypatch.setattr(Simulation, "advance", watched)
    stream = fine.stream(sample_image())
    assert clocks == []
    assert [(next(stream)[0], len(clocks)) for _ in range(T)] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert clocks == [1, 1, 1, 1]


@pytest.mark.parametrize("stable_steps", [1, 2, 3, 4])
@pytest.mark.parametrize("confidence", [0.25, 0.7, 1.0])
def test_a_stream_ends_when_the_boxes_have_settled(fine: SpikingDetector, confidence: float, stable_steps: int) -> None:
    every = dict(fine.stream(sample_image(), confidence=confidence))
    found = dict(fine.stream(sample_image(), confidence=confidence, stable_steps=stable_steps))
    assert list(found) == like_before(every, stable_steps)
    assert all(equal(detections, every[t]) for t, detections in found.items())


def test_nothing_found_settles_at_once(fine: SpikingDetector) -> None:
    """And what follows is not simulated."""
    assert [t for t, _ in fine.stream(sample_image(), confidence=1.0, stable_steps=1)] == [1, 2]
    assert [t for t, _ in fine.stream(sample_image(), confidence=1.0, stable_steps=3)] == [1, 2, 3, 4]
    assert [t for t, _ in fine.stream(sample_image(), [1, 4], confidence=1.0, stable_steps=1)] == [1, 4]


@pytest.mark.parametrize("stage", ["ann", "qc"])
@pytest.mark.parametrize("how", [{}, {"t": [1, 2]}, {"stable_steps": 1}], ids=str)
def test_a_network_without_time_streams_one_answer(stage: str, how: dict[str, Any]) -> None:
    detector = SpikingDetector.load(chain()[stage])
    ((step, found),) = detector.stream(sample_image(), **how)
    assert step == 0
    assert equal(found, detector(sample_image())[0])


def test_a_stream_refuses_what_a_call_refuses(fine: SpikingDetector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the network was converted for T = 4; time steps must lie in 1\.\.T"):
        next(fine.stream(sample_image(), [2, 8]))
    with pytest.raises(DataError, match=r"none\.jpg: image not found"):
        next(fine.stream(tmp_path / "none.jpg"))


@pytest.mark.parametrize(("stage", "end"), [("ann", r", torch on "), ("fine", r", (native|torch) backend: .*")])
def test_a_detector_says_what_it_is(stage: str, end: str) -> None:
    assert re.match(rf"tiny \({stage}\){end}", str(SpikingDetector.load(chain()[stage])))


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--device none: not a device"):
        SpikingDetector.load(chain()["fine"], SimulationConfig(device="none"))


@pytest.mark.parametrize("stable_steps", [0, 1])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_synaptic_operations_are_those_of_the_steps_read(stable_steps: int, backend: Any) -> None:
    detector = SpikingDetector.load(chain()["fine"], SimulationConfig(backend=backend))
    network, _ = load_spiking(chain()["fine"])
    counter = OperationCounter(network, TorchBackend(network), (IMAGE_SIZE, IMAGE_SIZE), T)
    counter.begin(1)
    list(simulate(network, to_input([sample_image()], IMAGE_SIZE), [T], watch=counter))
    *_, last = detector.outputs(sample_image(), [2, T], confidence=0.9999, stable_steps=stable_steps, count_sops=True)
    assert last.sops == counter.sops[:, : last.t].sum().item()
    assert last.spikes == counter.spikes[:, : last.t].sum().item()
    assert detector.ann_macs == sum(layer.macs for layer in layer_synapses(network, (IMAGE_SIZE, IMAGE_SIZE)))


def test_synaptic_operations_are_counted_only_when_asked_for(fine: SpikingDetector) -> None:
    assert [output.sops for output in fine.outputs(sample_image(), [1, T])] == [None, None]
    ann = SpikingDetector.load(chain()["ann"])
    (output,) = ann.outputs(sample_image(), count_sops=True)
    assert output.sops is None and ann.ann_macs is None


def test_a_list_of_images_gives_a_list(fine: SpikingDetector) -> None:
    one, other = sample_image(), sample_image()[::-1].copy()
    several = fine([one, other], t=[1, 2])
    assert [list(found) for found in several] == [[1, 2], [1, 2]]
    assert all(equal(found[2], fine(image, t=2)[2]) for found, image in zip(several, (one, other), strict=True))
    assert fine([], t=2) == []

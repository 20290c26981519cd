"""The window without a screen: what keys do, what is shown, and cameras that come and go."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_videos import CAMERA, RGBImage, camera, write_video
from tiny_detector import T, chain

from spikedet.commands.demo import demo
from spikedet.common.errors import ConfigError, DataError
from spikedet.config import DemoConfig
from spikedet.data.images import read_image
from spikedet.demo import window as window_module
from spikedet.demo.display import ScreenWindow
from spikedet.demo.window import Controls, WindowLoop, frame_rate, open_window, press
from spikedet.inference.detector import SpikingDetector
from spikedet.video import FrameReader, LatestFrame, Source, open_frames, parse_source
from spikedet.visualization.draw import draw_detections


def config(**changes: Any) -> DemoConfig:
    return DemoConfig(**{"weights": str(chain()["fine"]), "window": True, **changes})


class FakeDisplay:
    """A person who watches: ``press`` is asked for a key after each image, with what the window says."""

    def __init__(self, press: Callable[[list[str]], str]) -> None:
        self._press = press
        self.shown: list[RGBImage] = []
        self.lines: list[str] = []
        self.closed = False

    def show(self, image_rgb: RGBImage) -> None:
        self.shown.append(image_rgb)

    def key(self, wait_ms: int) -> str:
        assert len(self.shown) < 2000, f"nobody pressed q; the window says {self.lines}"
        return self._press(self.lines)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeDisplay]:
    """Opens the window of a configuration for a person; returns what they saw."""

    def run(press: Callable[[list[str]], str], settings: DemoConfig) -> FakeDisplay:
        display = FakeDisplay(press)

        def draw_lines(image_rgb: RGBImage, lines: list[str]) -> RGBImage:
            display.lines[:] = lines
            return image_rgb

        monkeypatch.setattr(window_module, "ScreenWindow", lambda title: display)
        monkeypatch.setattr(window_module, "draw_lines", draw_lines)
        monkeypatch.setattr(window_module, "RETRY_S", 0.01)
        open_window(settings)
        assert display.closed
        return display

    return run


def told(lines: list[str], words: str) -> bool:
    return any(words in line for line in lines)


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "controls"),
    [
        ("", Controls(2)),
        ("+", Controls(3)),
        ("=+++", Controls(4)),
        ("-_--", Controls(1)),
        (" ", Controls(2, paused=True)),
        ("  ", Controls(2)),
        (" -", Controls(1, paused=True)),
        ("s", Controls(2, save=True)),
        ("s+", Controls(3)),
        ("s ", Controls(2, paused=True)),
        ("sx", Controls(2)),
        ("q", Controls(2, ended=True)),
    ],
)
def test_keys(keys: str, controls: Controls) -> None:
    now = Controls(2)
    for key in keys:
        now = press(now, key, 4)
    assert now == controls


def test_no_key_ends_the_saving() -> None:
    assert press(Controls(2, save=True), "", 4) == Controls(2)


def test_rate() -> None:
    assert frame_rate([]) == frame_rate([10.0]) == frame_rate([10.0, 10.0]) == 0
    assert frame_rate([10.5, 11.0, 11.25]) == 2 / 0.75


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_to_its_end(tmp_path: Path, show: Callable[..., FakeDisplay]) -> None:
    path = write_video(tmp_path / "a.mp4", frames=3, fps=50)
    display = show(lambda lines: "q" if told(lines, "a.mp4: the end") else "", config(source=str(path)))
    assert told(display.lines, "frames/s, lag ")
    assert told(display.lines, f"t = {T}, firing rate ")
    with open_frames(parse_source(str(path))) as reader:
        last = list(reader)[-1].image_rgb
    detector = SpikingDetector.load(chain()["fine"])
    assert np.array_equal(display.shown[-1], draw_detections(last, detector(last)[T], detector.class_names))


def test_t_changes_while_the_image_stands_still(tmp_path: Path, show: Callable[..., FakeDisplay]) -> None:
    path = write_video(tmp_path / "a.mp4", frames=1)
    keys = iter([*" --", "", "q"])
    display = show(lambda lines: next(keys) if told(lines, "firing rate") else "", config(source=str(path)))
    assert told(display.lines, f"t = {T - 2}, firing rate ")
    assert "paused" in display.lines


def test_an_image_is_saved_beside_earlier_ones(
    tmp_path: Path, show: Callable[..., FakeDisplay], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=1)
    keys = iter("ssq")
    out = tmp_path / "saved"
    display = show(lambda lines: next(keys) if told(lines, "rate") else "", config(source=str(path), out=str(out)))
    assert sorted(file.name for file in out.iterdir()) == ["a-1.png", "a-2.png"]
    assert np.array_equal(read_image(out / "a-1.png"), display.shown[-1])
    assert f"saved {out / 'a-1.png'}" in capsys.readouterr().out


def test_an_image_that_cannot_be_saved(
    tmp_path: Path, show: Callable[..., FakeDisplay], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    keys = iter("sq")
    settings = config(source=str(write_video(tmp_path / "a.mp4")), out=str(tmp_path / "file"))
    show(lambda lines: next(keys) if told(lines, "rate") else "", settings)
    assert "cannot write here" in capsys.readouterr().out


def test_a_missing_file_is_an_error(tmp_path: Path, show: Callable[..., FakeDisplay]) -> None:
    with pytest.raises(DataError, match=r"none\.mp4: no such video"):
        show(lambda lines: "", config(source=str(tmp_path / "none.mp4")))


def test_a_network_without_time(tmp_path: Path, show: Callable[..., FakeDisplay]) -> None:
    keys = iter("+-q")
    settings = config(source=str(write_video(tmp_path / "a.mp4")), webcam_weights=str(chain()["ann"]))
    display = show(lambda lines: next(keys) if told(lines, "a network without time") else "", settings)
    assert told(display.lines, "a network without time")


# --- cameras --------------------------------------------------------------------------------------------------------


def test_a_camera_that_is_not_there_is_tried_again(show: Callable[..., FakeDisplay]) -> None:
    display = show(lambda lines: "q" if told(lines, "trying again") else "", config(source=99))
    assert display.lines == ["camera 99: no such camera, or another program is using it; trying again"]


def test_a_camera_that_comes_and_goes_and_comes(
    show: Callable[..., FakeDisplay], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = DataError("camera 0: no such camera")
    openings = iter([missing, camera(2), missing, cv2.error("select() timeout"), camera(2)])

    def open_next(source: Source) -> FrameReader:
        opened = next(openings, missing)
        if isinstance(opened, cv2.error):
            return camera(3, before=lambda number: number == 2 and throw(opened))  # type: ignore[arg-type, return-value]
        if isinstance(opened, DataError):
            raise opened
        return opened

    monkeypatch.setattr(window_module, "open_frames", open_next)
    lost = [0]

    def watch(lines: list[str]) -> str:
        lost[0] = 0 if not told(lines, "no such camera; trying again") else lost[0] + 1
        return "q" if lost[0] > 20 else ""

    display = show(watch, config(source="0"))
    assert told(display.lines, "frames/s")
    said = capsys.readouterr().out
    assert "camera 0: no such camera" in said


def throw(error: Exception) -> None:
    raise error


def test_ctrl_c_ends_it(tmp_path: Path, show: Callable[..., FakeDisplay]) -> None:
    def interrupt(lines: list[str]) -> str:
        raise KeyboardInterrupt

    show(interrupt, config(source=str(write_video(tmp_path / "a.mp4"))))


def test_the_newest_frame_wins_over_a_slow_watcher() -> None:
    seen: list[int] = []
    with LatestFrame(lambda: camera(200)) as frames:
        frames._thread.join(5)
        display = FakeDisplay(lambda lines: "q")
        detector = SpikingDetector.load(chain()["fine"])
        loop = WindowLoop(detector, frames, display, config(), CAMERA)
        look = loop._look
        loop._look = lambda frame, t: (seen.append(frame.number), look(frame, t))[1]  # type: ignore[method-assign]
        loop.run()
    assert seen == [200]


# --- no screen ------------------------------------------------------------------------------------------------------


def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("spikedet.demo.display.sys.platform", "linux")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           QT5\n")


def test_without_a_screen_one_sentence_names_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    no_screen(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"no screen \(DISPLAY is not set\)\. `spikedet demo` without --window serves"
    ):
        demo(config())


def test_a_screen_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    no_screen(monkeypatch)
    monkeypatch.setenv("DISPLAY", ":4711")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -6))
    with pytest.raises(ConfigError, match=r"no window here: OpenCV cannot open one on this screen\. `spikedet demo`"):
        demo(config())


def test_opencv_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(ConfigError, match=r"cv2 is opencv-python-headless, which has none\. `spikedet demo`"):
        demo(config())


def test_a_title_of_any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are no UTF-8 crash OpenCV."""
    titles: list[str] = []
    monkeypatch.setattr("spikedet.demo.display._problem", lambda: "")
    monkeypatch.setattr("cv2.namedWindow", lambda title, _: titles.append(title))
    ScreenWindow("spikedet: a\udcff.mp4")
    assert titles == ["spikedet: a?.mp4"]

"""A camera, an address or a file in a window, with its boxes: the newest frame, and keys for t."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from spikedet.common.errors import SpikedetError
from spikedet.config import DemoConfig
from spikedet.demo.display import ScreenWindow
from spikedet.demo.webcam import in_words
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.video import AnnotatedFrame, annotate
from spikedet.video import Frame, LatestFrame, Source, open_frames, parse_source
from spikedet.visualization.draw import draw_lines, save_image

logger = logging.getLogger("spikedet")

KEYS = "+ and - change t, space pauses, s saves the image, q ends"
RETRY_S = 1.0
PATIENCE_S = 0.05
"""How long a new frame is waited for before the keys are looked at again."""

EMPTY = np.zeros((360, 640, 3), np.uint8)
"""Shown before the first frame."""


@dataclass(frozen=True)
class Controls:
    """What the keys have set.

    Attributes:
        t: time step to read out.
        paused: the image stands still; t can be changed all the same.
        save: the image was to be saved.
        ended: the window was closed.
    """

    t: int
    paused: bool = False
    save: bool = False
    ended: bool = False


def press(controls: Controls, key: str, T: int) -> Controls:
    """The controls after a key; t stays within 1..T."""
    controls = replace(controls, save=False)
    if key in ("+", "="):
        return replace(controls, t=min(controls.t + 1, T))
    if key in ("-", "_"):
        return replace(controls, t=max(controls.t - 1, 1))
    if key == " ":
        return replace(controls, paused=not controls.paused)
    return replace(controls, save=key == "s", ended=key == "q")


def frame_rate(times_s: Sequence[float]) -> float:
    """Frames per second, from the times at which they were shown; 0 of fewer than two."""
    passed_s = times_s[-1] - times_s[0] if times_s else 0.0
    return (len(times_s) - 1) / passed_s if passed_s > 0 else 0.0


def open_window(config: DemoConfig) -> None:
    """Open the window and keep it until q or Ctrl-C.

    Raises:
        ConfigError: no window can be opened here.
        DataError: there is no such file, or it is not a video. A camera or an address is tried again and again instead.
        CheckpointError: the weights cannot be used.
    """
    source = parse_source(str(config.source))
    display = ScreenWindow(f"spikedet: {source}")
    try:
        detector = SpikingDetector.load(config.live, config)
        logger.info(f"{detector}\n{KEYS}")
        with LatestFrame(lambda: open_frames(source), retry_s=None if source.kind == "file" else RETRY_S) as frames:
            WindowLoop(detector, frames, display, config, source).run()
    except KeyboardInterrupt:
        logger.info("")
    finally:
        display.close()


class WindowLoop:
    """Frames in, images out, keys in between. Needs no screen: the display may be anything that is one."""

    def __init__(
        self, detector: SpikingDetector, frames: LatestFrame, display: ScreenWindow, config: DemoConfig, source: Source
    ) -> None:
        self._detector, self._frames, self._display = detector, frames, display
        self._config, self._source = config, source
        self._T = detector.T or 1
        self._times_s: deque[float] = deque(maxlen=30)
        self._lag_s = 0.0
        self._said = ""

    def run(self) -> None:
        """Until q. Raises DataError where a file cannot be read."""
        controls, view = Controls(self._T), None
        while not controls.ended:
            frame = None if controls.paused else self._frames.next(PATIENCE_S)
            if frame is not None:
                view = self._look(frame, controls.t)
                self._times_s.append(time.monotonic())
                self._lag_s = self._times_s[-1] - frame.time_s
            elif view is not None and self._detector.meta.spiking and view.outputs[0].t != controls.t:
                view = self._look(view.frame, controls.t)
            self._display.show(draw_lines(view.image_rgb if view else EMPTY, self._lines(view, controls)))
            key = self._display.key(1 if frame is not None else int(1000 * PATIENCE_S))
            controls = press(controls, key, self._T)
            self._frames.hold(controls.paused)
            if controls.save and view is not None:
                self._save(view)

    def _look(self, frame: Frame, t: int) -> AnnotatedFrame:
        return annotate(self._detector, frame, t=[t], confidence=self._config.confidence, iou=self._config.iou)

    def _lines(self, view: AnnotatedFrame | None, controls: Controls) -> list[str]:
        lines = []
        if view is not None:
            lines.append(f"{frame_rate(self._times_s):.1f} frames/s, lag {1000 * self._lag_s:.0f} ms")
            lines.append(in_words(view.outputs[0]))
        if controls.paused:
            lines.append("paused")
        message = self._frames.message
        if self._frames.ended:
            lines.append(message or f"{self._source}: the end")
        elif message:
            lines.append(f"{message}; trying again")
        elif view is None:
            lines.append(f"{self._source}: waiting for an image")
        if message != self._said:
            logger.info(message or f"{self._source}: there again")
            self._said = message
        return lines

    def _save(self, view: AnnotatedFrame) -> None:
        folder = Path(self._config.out)
        path = next(path for n in count(1) if not (path := folder / f"{self._source.name}-{n}.png").exists())
        try:
            logger.info(f"saved {save_image(path, view.image_rgb)}")
        except SpikedetError as error:
            logger.info(error)

"""Boxes on images, videos and cameras."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
from rich.markup import escape
from rich.progress import Progress, TaskID

from spikedet.common.errors import ConfigError, DataError, SpikedetError
from spikedet.common.progress import make_progress
from spikedet.config import DetectConfig, parse_time_steps
from spikedet.data import load_for
from spikedet.data.images import read_image
from spikedet.detections import Detections
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.inputs import Input, find_inputs, labelled_inputs
from spikedet.inference.outputs import DetectionOutputs, refuse_foreign_labels
from spikedet.inference.video import annotate, annotate_video, expected_frames
from spikedet.video import ByteTracker, Frame, FrameReader, VideoWriter, import_trackers, open_frames, video_writer
from spikedet.visualization.draw import beside, draw_detections, save_image
from spikedet.visualization.letters import names_beside

logger = logging.getLogger("spikedet")


def detect(config: DetectConfig) -> Path:
    """Draw the detections of every image and video and write them to ``OUT/detections.json``.

    Several time steps are drawn side by side, earliest left; ``save_json`` and ``save_txt`` write those of the last.
    Whatever fails for one input is named at the end; the others are done all the same. A camera runs until Ctrl-C,
    which keeps what was recorded.

    Returns:
        The path of ``detections.json``: ``{image: {t: [records]}}``; the frames of a video are ``VIDEO#NUMBER`` and
        have a ``time_s`` too.

    Raises:
        DataError: nothing to read, no such camera, or (after the others are done) an input that failed.
        ConfigError: a time step beyond the network's T, the output folder is that of the images or of somebody's
            labels, or ``track`` without its package.
    """
    out = Path(config.out)
    if not config.with_labels:
        inputs, broken = find_inputs(config.source, out)
    if config.save_txt:
        refuse_foreign_labels(out)
    detector = SpikingDetector.load(config.weights, config)
    labels: Mapping[str, Detections] = {}
    if config.with_labels:
        if len(config.source) != 1:
            raise ConfigError(f"--with-labels takes one dataset, got {len(config.source)} sources")
        dataset = load_for(detector.meta, config.source[0], config.split, config)
        (inputs, labels), broken = labelled_inputs(dataset, out), []
    steps = parse_time_steps(config.t)
    detector.require_steps(steps)
    if config.track:
        import_trackers()
    logger.info(detector)
    if beside := names_beside(detector.class_names):
        logger.info(beside)
    with make_progress() as progress:
        how = {"t": steps, "confidence": config.confidence, "iou": config.iou, "stable_steps": config.stable_steps}
        run = _Run(config, detector, how, labels, DetectionOutputs(detector.class_names), progress)
        count = len(inputs) + len(broken)
        broken += run.all(inputs, alone=count == 1)
    result = run.outputs.write(out, coco=config.save_json, yolo=config.save_txt)
    logger.info(f"{run.outputs} drawn, boxes in {result}")
    for sentence in broken[1:]:
        logger.warning(sentence)
    if broken:
        raise DataError(broken[0] if count == 1 else f"{len(broken)} of {count} inputs failed, the first: {broken[0]}")
    return result


@dataclass(frozen=True)
class _Run:
    """One call of ``detect``."""

    config: DetectConfig
    detector: SpikingDetector
    how: Mapping[str, Any]
    labels: Mapping[str, Detections]
    outputs: DetectionOutputs
    progress: Progress

    def all(self, inputs: Sequence[Input], *, alone: bool) -> list[str]:
        """Everything in turn; a sentence about each input that failed, or could not be read to its end.

        Ctrl-C while a camera is recorded ends that recording and leaves out what comes after it.
        """
        broken: list[str] = []
        for item in self.progress.track(inputs, description="detecting"):
            try:
                if not item.video:
                    self.image(item)
                elif (sentence := self.video(item)) is None:
                    break
                elif sentence:
                    broken.append(sentence)
            except SpikedetError as error:
                if alone and item.source.kind != "file":
                    raise
                broken.append(str(error) if item.source.text in str(error) else f"{item.source}: {error}")
            except (MemoryError, OSError, cv2.error) as error:
                broken.append(f"{item.source}: {error or 'not enough memory'}")
        return broken

    def image(self, item: Input) -> None:
        frame = Frame(1, read_image(Path(item.source.text)), time.monotonic(), 0.0)
        seen = annotate(self.detector, frame, **self.how)
        drawn = [seen.image_rgb]
        if (labels := self.labels.get(item.key)) is not None:
            names = self.detector.class_names
            drawn.insert(0, draw_detections(frame.image_rgb, labels, names, scores=False))
        save_image(Path(self.config.out) / f"{item.name}.png", beside(drawn))
        self.outputs.add(item, seen)

    def video(self, item: Input) -> str | None:
        config = self.config
        with open_frames(item.source) as reader:
            task = self.progress.add_task(escape(item.name), total=expected_frames(reader, config.every, config.frames))
            try:
                path = Path(config.out) / f"{item.name}.{config.video_format}"
                with video_writer(path, reader.fps / config.every) as writer:
                    return self.frames(item, reader, writer, task)
            finally:
                self.progress.remove_task(task)

    def frames(self, item: Input, reader: FrameReader, writer: VideoWriter, task: TaskID) -> str | None:
        """What is wrong with the video, "" for nothing; None where a recording was interrupted."""
        config = self.config
        found = annotate_video(
            self.detector,
            reader,
            writer,
            **self.how,
            every=config.every,
            frames=config.frames,
            tracker=ByteTracker(reader.fps / config.every, config.confidence) if config.track else None,
        )
        if reader.live:
            self.progress.console.print(escape(f"{reader.source}: recording until Ctrl-C"))
        looked = 0
        try:
            for done in found:
                self.outputs.add(item, done)
                self.progress.advance(task)
                looked += 1
        except KeyboardInterrupt:
            if not reader.live:
                raise
            return None
        if not reader.live or looked == config.frames:
            return reader.shortfall
        return f"{reader.source}: no more frames came from it after {looked}; what was recorded is kept"

"""Boxes on images, videos and cameras."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.progress import Progress, TaskID

from spikedet.common.errors import DataError
from spikedet.common.progress import make_progress
from spikedet.config import DetectConfig, parse_time_steps
from spikedet.data.images import read_image
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.inputs import Input, find_inputs
from spikedet.inference.outputs import DetectionOutputs, refuse_foreign_labels
from spikedet.inference.video import annotate_video, expected_frames, output_fps
from spikedet.video import ByteTracker, FrameReader, VideoWriter, import_trackers, open_frames, video_writer
from spikedet.visualization import beside, draw_detections, save_image

logger = logging.getLogger("spikedet")


def detect(config: DetectConfig) -> Path:
    """Draw the detections of every image and video and write them to ``OUT/detections.json``.

    Several time steps are drawn side by side, earliest left; ``save_json`` and ``save_txt`` write those of the last. A
    file that cannot be read is named at the end; the others are done all the same. A camera runs until Ctrl-C, which
    keeps what was recorded.

    Returns:
        The path of ``detections.json``: ``{image: {t: [records]}}``; the frames of a video are ``VIDEO#NUMBER``.

    Raises:
        DataError: nothing to read, no such camera, or (after the others are done) a file that could not be read.
        ConfigError: a time step beyond the network's T, the output folder is that of the images or of somebody's
            labels, or ``track`` without its package.
    """
    out = Path(config.out)
    inputs = find_inputs(config.source, out)
    if config.save_txt:
        refuse_foreign_labels(out)
    detector = SpikingDetector.load(config.weights, config)
    steps = parse_time_steps(config.t)
    detector.require_steps(steps)
    if config.track:
        import_trackers()
    logger.info(detector)
    with make_progress() as progress:
        run = _Run(config, detector, steps, out, DetectionOutputs(detector.class_names), progress)
        broken = run.all(inputs)
    result = run.outputs.write(out, coco=config.save_json, yolo=config.save_txt)
    logger.info(f"{run.outputs} drawn, boxes in {result}")
    if broken:
        raise DataError(_summary(inputs, broken))
    return result


@dataclass(frozen=True)
class _Run:
    """One call of ``detect``."""

    config: DetectConfig
    detector: SpikingDetector
    steps: Sequence[int]
    out: Path
    outputs: DetectionOutputs
    progress: Progress

    def all(self, inputs: Sequence[Input]) -> list[str]:
        """Everything in turn; a sentence about each input that could not be read, or not to its end."""
        broken = []
        for item in self.progress.track(inputs, description="detecting"):
            try:
                if item.video:
                    broken += self.video(item)
                else:
                    self.image(item)
            except DataError as error:
                if item.source.kind != "file":
                    raise
                broken.append(str(error))
        return broken

    def image(self, item: Input) -> None:
        config = self.config
        image = read_image(Path(item.source.text))
        outputs = list(
            self.detector.outputs(
                image, self.steps, confidence=config.confidence, iou=config.iou, stable_steps=config.stable_steps
            )
        )
        drawn = [draw_detections(image, output.detections, self.detector.class_names) for output in outputs]
        save_image(self.out / f"{item.name}.png", beside(drawn))
        self.outputs.add_image(item.key, item.name, (image.shape[0], image.shape[1]), outputs)

    def video(self, item: Input) -> list[str]:
        config = self.config
        with open_frames(item.source) as reader:
            task = self.progress.add_task(escape(item.name), total=expected_frames(reader, config.every, config.frames))
            try:
                path = self.out / f"{item.name}.{config.video_format}"
                with video_writer(path, output_fps(reader, config.every)) as writer:
                    return self.frames(item, reader, writer, task)
            finally:
                self.progress.remove_task(task)

    def frames(self, item: Input, reader: FrameReader, writer: VideoWriter, task: TaskID) -> list[str]:
        config = self.config
        found = annotate_video(
            self.detector,
            reader,
            writer,
            t=self.steps,
            confidence=config.confidence,
            iou=config.iou,
            stable_steps=config.stable_steps,
            every=config.every,
            frames=config.frames,
            tracker=ByteTracker(output_fps(reader, config.every), config.confidence) if config.track else None,
        )
        if reader.live:
            self.progress.console.print(escape(f"{reader.source}: recording until Ctrl-C"))
        looked = 0
        try:
            for done in found:
                self.outputs.add_frame(item.key, item.name, done)
                self.progress.advance(task)
                looked += 1
        except KeyboardInterrupt:
            if not reader.live:
                raise
            return []
        if not reader.live:
            return [reader.shortfall] if reader.shortfall else []
        if looked == config.frames:
            return []
        return [f"{reader.source}: no more frames came from it after {looked}; what was recorded is kept"]


def _summary(inputs: Sequence[Input], broken: Sequence[str]) -> str:
    if inputs[0].source.kind != "file":
        return broken[0]
    kinds = {item.video for item in inputs}
    what = "files" if len(kinds) > 1 else "videos" if True in kinds else "images"
    return f"{len(broken)} of {len(inputs)} {what} could not be read, the first: {broken[0]}"

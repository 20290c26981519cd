"""Detections drawn on images and on the frames of a video or camera, for the command line and the web page alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil

import numpy as np
import numpy.typing as npt

from spikedet.inference.detector import SpikingDetector, StepOutput
from spikedet.video import ByteTracker, Frame, FrameReader, LatestFrame, VideoWriter
from spikedet.visualization.draw import beside, draw_detections


@dataclass(frozen=True)
class AnnotatedFrame:
    """One frame, or one image, that was looked at.

    Attributes:
        frame: as it was read.
        outputs: by time step, earliest first; boxes of the last one have track ids if there is a tracker.
        image_rgb: uint8 ``[H, W', 3]``, the outputs side by side.
    """

    frame: Frame
    outputs: tuple[StepOutput, ...]
    image_rgb: npt.NDArray[np.uint8]


def annotate(
    detector: SpikingDetector,
    frame: Frame,
    *,
    t: Sequence[int] = (),
    confidence: float = 0.25,
    iou: float = 0.7,
    stable_steps: int = 0,
    tracker: ByteTracker | None = None,
) -> AnnotatedFrame:
    """Detect on one image and draw what was found; arguments as those of ``annotate_video``."""
    least = confidence if tracker is None else min(confidence, tracker.least_score)
    found = list(detector.outputs(frame.image_rgb, t or None, confidence=least, iou=iou, stable_steps=stable_steps))
    if tracker is not None:
        found[-1] = replace(found[-1], detections=tracker.update(found[-1].detections))
        found = [replace(output, detections=output.detections.above(confidence)) for output in found]
    drawn = [draw_detections(frame.image_rgb, output.detections, detector.class_names) for output in found]
    return AnnotatedFrame(frame, tuple(found), beside(drawn))


def annotate_video(
    detector: SpikingDetector,
    reader: FrameReader,
    writer: VideoWriter,
    *,
    t: Sequence[int] = (),
    confidence: float = 0.25,
    iou: float = 0.7,
    stable_steps: int = 0,
    every: int = 1,
    frames: int = 0,
    tracker: ByteTracker | None = None,
) -> Iterator[AnnotatedFrame]:
    """Look at frame after frame and write each with its boxes; yields after each frame. To cancel, stop asking.

    Of a file every frame is looked at, of a live source the newest one. Every drawn frame stands at its source's time,
    until the next one.

    Args:
        detector: the network.
        reader: an opened source.
        writer: made for ``reader.fps / every``, so that what it writes lasts as long as the source.
        t: time steps to read out, drawn side by side; none reads at the network's T.
        confidence: lowest score drawn.
        iou: overlap above which the weaker of two boxes of a class is dropped.
        stable_steps: early exit, as in ``SpikingDetector.stream``.
        every: look at each n-th frame only.
        frames: stop after this many looks; 0 goes on to the end.
        tracker: follows the boxes of the last time step.

    Raises:
        ConfigError: a time step beyond the network's T.
        DataError: a frame is too large.
    """
    started_s = None
    for count, frame in enumerate(_source(reader, every), start=1):
        seen = annotate(
            detector, frame, t=t, confidence=confidence, iou=iou, stable_steps=stable_steps, tracker=tracker
        )
        started_s = frame.source_time_s if started_s is None else started_s
        writer.write(seen.image_rgb, frame.source_time_s - started_s)
        yield seen
        if count == frames:
            return


def expected_frames(reader: FrameReader, every: int = 1, frames: int = 0) -> int | None:
    """How many frames ``annotate_video`` will look at; None if nobody can know."""
    found = None if reader.live or reader.count is None else ceil(reader.count / every)
    return min(frames, found) if frames and found else frames or found


def _source(reader: FrameReader, every: int) -> Iterator[Frame]:
    with LatestFrame(lambda: reader) if reader.live else nullcontext(reader) as frames:
        yield from islice(frames, 0, None, every)

"""Frames of a browser's camera: one comes in, its boxes go back; nothing is kept between two of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import UnidentifiedImageError

from spikedet.common.errors import DataError
from spikedet.data.images import open_image
from spikedet.demo.settings import Settings
from spikedet.inference.comparison import Member
from spikedet.inference.detector import StepOutput

MAX_FRAME_BYTES = 4_000_000
MAX_FRAME_SIDE = 4096
"""Pixels; cameras have no more, and a small file can hold a huge image."""


def decoded(content: bytes) -> npt.NDArray[np.uint8]:
    """A frame as RGB ``[H, W, 3]``. Raises DataError where it is none, or too large."""
    try:
        with open_image(io.BytesIO(content), ("JPEG", "PNG")) as image:
            if max(image.size) > MAX_FRAME_SIDE:
                raise DataError(f"the frame is larger than {MAX_FRAME_SIDE} pixels")
            return np.asarray(image.convert("RGB"))
    except DataError:
        raise
    except (UnidentifiedImageError, ImportError) as error:  # ultralytics makes PIL look for plug-ins
        raise DataError("not a frame: expected a JPEG image") from error
    except Exception as error:  # of a decoder, which may raise whatever it likes
        raise DataError("the frame is damaged") from error


def detect_frame(member: Member, content: bytes, settings: Settings) -> dict[str, Any]:
    """Boxes of one frame after t steps, or earlier where they have stopped changing, and what they cost.

    Returns:
        ``{"boxes": [{"label", "text", "box_xyxy"}], "words"}``.

    Raises:
        DataError: it is no frame.
    """
    detector, frame_rgb = member.detector, decoded(content)
    with member.lock:
        *_, last = detector.outputs(
            frame_rgb,
            settings.steps(detector.T),
            confidence=settings.confidence,
            stable_steps=settings.stable_steps,
            count_sops=True,
        )
    found = last.detections
    boxes = [
        {"label": int(label), "text": f"{detector.class_names[label]} {score:.2f}", "box_xyxy": [float(v) for v in box]}
        for box, score, label in zip(found.boxes_xyxy, found.scores, found.labels, strict=True)
    ]
    return {"boxes": boxes, "words": in_words(last, detector.ann_macs)}


def in_words(output: StepOutput, ann_macs: int | None = None) -> str:
    """Cost of an output: synaptic operations, where they were counted, beside the ANN's multiply-accumulates."""
    if output.spikes is None or output.firing_rate is None:
        return "a network without time"
    words = f"t = {output.t}, firing rate {output.firing_rate:.1%}, {output.spikes:,} spikes"
    if output.sops is None or ann_macs is None:
        return words
    return f"{words}, {output.sops / 1e6:,.0f} M SOPs (ANN: {ann_macs / 1e6:,.0f} M MACs)"

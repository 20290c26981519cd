"""Boxes and labels on pictures, drawn by supervision in colours that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import supervision as sv
from PIL import Image

from spikedet.detections import Detections
from spikedet.files import atomic_path

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")


def draw_detections(
    image_rgb: npt.NDArray[np.uint8], detections: Detections, class_names: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """A copy of the picture ``[H, W, 3]`` with boxes, class names and scores, sized to the picture."""
    resolution_wh = (image_rgb.shape[1], image_rgb.shape[0])
    thickness = max(1, sv.calculate_optimal_line_thickness(resolution_wh))
    scale = max(0.3, sv.calculate_optimal_text_scale(resolution_wh))
    palette = sv.ColorPalette.from_hex(list(OKABE_ITO))
    found = sv.Detections(
        xyxy=detections.boxes_xyxy.astype(float), confidence=detections.scores, class_id=detections.labels.astype(int)
    )
    labels = [f"{class_names[i]} {s:.2f}" for i, s in zip(detections.labels, detections.scores, strict=True)]
    canvas = np.ascontiguousarray(image_rgb[..., ::-1])
    canvas = sv.BoxAnnotator(palette, thickness=thickness).annotate(canvas, found)
    text = sv.LabelAnnotator(palette, text_color=sv.Color.BLACK, text_scale=scale, text_padding=max(1, thickness * 2))
    canvas = text.annotate(canvas, found, labels=labels)
    return np.ascontiguousarray(canvas[..., ::-1])


def beside(pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Pictures of one height side by side, separated by a white line."""
    gap = np.full((pictures[0].shape[0], 4, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def save_picture(path: Path, image_rgb: npt.NDArray[np.uint8]) -> Path:
    """Write a picture atomically; the file's suffix chooses the format."""
    with atomic_path(path) as temporary:
        Image.fromarray(image_rgb).save(temporary)
    return path

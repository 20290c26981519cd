"""Boxes and labels on images, drawn by supervision in colours that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv
from PIL import Image

from spikedet.common.files import atomic_path
from spikedet.detections import Detections
from spikedet.visualization.letters import drawable, name_to_draw

RGBImage = npt.NDArray[np.uint8]

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999")
TEXT_ON = ("#000000", "#000000", "#000000", "#000000", "#FFFFFF", "#000000", "#000000", "#000000")
"""The colour of text on each of them, black or white, whichever can be read."""

LEAST_TEXT_SCALE = 0.4
"""Letters of about 10 pixels; below it they cannot be read, however small the image."""


@dataclass(frozen=True)
class DrawingSizes:
    """Sizes that can be read on an image of some size, from 160 pixels to 4K.

    Attributes:
        line_px: thickness of a box's line.
        text_scale: OpenCV's; letters of about 27 pixels at 1.
        text_px: thickness of letters' lines.
        padding_px: around a text.
    """

    line_px: int
    text_scale: float
    text_px: int
    padding_px: int

    @classmethod
    def of(cls, resolution_wh: tuple[int, int]) -> DrawingSizes:
        """In proportion to the shorter side."""
        scale = max(LEAST_TEXT_SCALE, sv.calculate_optimal_text_scale(resolution_wh))
        return cls(
            line_px=max(1, round(min(resolution_wh) / 240)),
            text_scale=scale,
            text_px=max(1, round(1.5 * scale)),
            padding_px=max(1, round(6 * scale)),
        )


def draw_detections(
    image_rgb: RGBImage, detections: Detections, class_names: Sequence[str], *, scores: bool = True
) -> RGBImage:
    """A copy of the image ``[H, W, 3]`` with boxes, class names and, unless told otherwise, scores, sized to the image.

    Labels stay inside the image and make room for each other. A name that OpenCV has no letters for is shown as
    ``class 3``; ``names_beside`` lists these. Track ids are shown as ``#12``.
    """
    sizes = DrawingSizes.of(_resolution_wh(image_rgb))
    palette, text_palette = (sv.ColorPalette.from_hex(list(colours)) for colours in (OKABE_ITO, TEXT_ON))
    found = sv.Detections(
        xyxy=detections.boxes_xyxy.astype(float), confidence=detections.scores, class_id=detections.labels.astype(int)
    )
    canvas = np.ascontiguousarray(image_rgb[..., ::-1])
    canvas = sv.BoxAnnotator(palette, thickness=sizes.line_px).annotate(canvas, found)
    text = sv.LabelAnnotator(
        palette,
        text_color=text_palette,
        text_scale=sizes.text_scale,
        text_thickness=sizes.text_px,
        text_padding=sizes.padding_px,
        smart_position=True,
    )
    canvas = text.annotate(canvas, found, labels=_labels(detections, class_names, scores))
    return np.ascontiguousarray(canvas[..., ::-1])


def _labels(detections: Detections, class_names: Sequence[str], scores: bool) -> list[str]:
    ids = detections.track_ids or [None] * len(detections)
    rows = zip(detections.labels, detections.scores, ids, strict=True)
    return [
        name_to_draw(class_names, int(label)) + ("" if i is None else f" #{i}") + (f" {score:.2f}" if scores else "")
        for label, score, i in rows
    ]


def draw_lines(image_rgb: RGBImage, lines: Sequence[str]) -> RGBImage:
    """A copy of the image with lines of text in its upper left corner, white on black; long ones are broken."""
    sizes = DrawingSizes.of(_resolution_wh(image_rgb))
    canvas = np.ascontiguousarray(image_rgb[..., ::-1])
    top = 0
    for line in (part for text in lines for part in broken_line(text, image_rgb.shape[1], sizes)):
        width, height = text_wh(line, sizes)
        middle = sv.Point(x=width // 2, y=top + height // 2)
        canvas = sv.draw_text(
            canvas,
            drawable(line),
            middle,
            sv.Color.WHITE,
            text_scale=sizes.text_scale,
            text_thickness=sizes.text_px,
            text_padding=sizes.padding_px,
            background_color=sv.Color.BLACK,
        )
        top += height
    return np.ascontiguousarray(canvas[..., ::-1])


def broken_line(line: str, width_px: int, sizes: DrawingSizes) -> list[str]:
    """A line of text as several that fit into a width, as far as its words do."""
    parts = [""]
    for word in line.split():
        longer = f"{parts[-1]} {word}".strip()
        if parts[-1] and text_wh(longer, sizes)[0] > width_px:
            parts.append(word)
        else:
            parts[-1] = longer
    return parts


def text_wh(text: str, sizes: DrawingSizes) -> tuple[int, int]:
    """Width and height in pixels of one line of text with its padding."""
    (width, height), _ = cv2.getTextSize(drawable(text), cv2.FONT_HERSHEY_SIMPLEX, sizes.text_scale, sizes.text_px)
    return int(width) + 2 * sizes.padding_px, int(height) + 2 * sizes.padding_px


def _resolution_wh(image_rgb: RGBImage) -> tuple[int, int]:
    return int(image_rgb.shape[1]), int(image_rgb.shape[0])


def fit_side(image_rgb: RGBImage, side: int) -> RGBImage:
    """The image, made smaller so that no side is longer than ``side`` pixels; a small one stays as it is."""
    width, height = _resolution_wh(image_rgb)
    ratio = side / max(height, width)
    if ratio >= 1:
        return image_rgb
    size_wh = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def beside(images: Sequence[RGBImage]) -> RGBImage:
    """Images of one height side by side, separated by a white line."""
    gap = np.full((images[0].shape[0], 4, 3), 255, np.uint8)
    parts = [part for image in images for part in (image, gap)]
    return np.concatenate(parts[:-1], axis=1)


def save_image(path: Path, image_rgb: RGBImage) -> Path:
    """Write an image atomically; the file's suffix chooses the format."""
    with atomic_path(path) as temporary:
        Image.fromarray(image_rgb).save(temporary)
    return path

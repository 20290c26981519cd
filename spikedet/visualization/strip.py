"""Boxes growing with time on one image: a strip of tiles to print, and an animation (the paper's figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from spikedet.common.files import atomic_path
from spikedet.detections import Detections
from spikedet.visualization.draw import DrawingSizes, RGBImage, draw_detections, draw_lines, fit_side, text_wh

GAP_PX = 4
FRAME_SIDE_PX = 480
STEP_MS = 400
LAST_MS = 2000

Row = tuple[str, dict[int, Detections]]
"""A network's name, and its detections by time step (0 alone for a network without time)."""


def strip(image_rgb: RGBImage, rows: Sequence[Row], class_names: Sequence[str], side: int = 320) -> RGBImage:
    """Networks without time beside each other, then a row of tiles per network, a column per time step.

    Args:
        image_rgb: ``[H, W, 3]``.
        rows: networks in their order.
        class_names: in label order.
        side: longer side of a tile, pixels.
    """
    shown, ratio = _shown(image_rgb, side)
    steps = _steps(rows)
    bands: list[RGBImage] = []
    timeless: list[RGBImage] = []
    for title, found in rows:
        tiles = [_tile(shown, found[t].scaled(ratio), class_names, t) for t in [0, *steps] if t in found]
        (timeless if 0 in found else bands).append(_titled(title, _side_by_side(tiles)))
    bands = [_side_by_side(timeless), *bands] if timeless else bands
    width = max(band.shape[1] for band in bands)
    return np.concatenate([_widened(band, width) for band in bands])


def animation(image_rgb: RGBImage, rows: Sequence[Row], class_names: Sequence[str]) -> list[RGBImage]:
    """Frames with all networks side by side, one per time step; a network that ends earlier keeps its last output."""
    shown, ratio = _shown(image_rgb, FRAME_SIDE_PX)
    frames = []
    for step in _steps(rows) or [0]:
        tiles = []
        for title, found in rows:
            t = max((known for known in found if known <= step), default=min(found))
            tiles.append(_titled(title, _tile(shown, found[t].scaled(ratio), class_names, t)))
        frames.append(_side_by_side(tiles))
    return frames


def save_animation(path: Path, frames: Sequence[RGBImage]) -> Path:
    """Write an endless GIF in one step; the last frame stays longer."""
    images = [Image.fromarray(frame) for frame in frames]
    pauses = [STEP_MS] * (len(frames) - 1) + [LAST_MS]
    with atomic_path(path) as temporary:
        images[0].save(temporary, "GIF", save_all=True, append_images=images[1:], duration=pauses, loop=0)
    return path


def _steps(rows: Sequence[Row]) -> list[int]:
    return sorted({t for _, found in rows for t in found if t})


def _shown(image_rgb: RGBImage, side: int) -> tuple[RGBImage, float]:
    shown = fit_side(image_rgb, side)
    return shown, shown.shape[1] / image_rgb.shape[1]


def _tile(shown: RGBImage, detections: Detections, class_names: Sequence[str], t: int) -> RGBImage:
    drawn = draw_detections(shown, detections, class_names)
    return draw_lines(drawn, [f"t = {t}"]) if t else drawn


def _titled(title: str, tiles: RGBImage) -> RGBImage:
    """A white band with black letters above."""
    sizes = DrawingSizes.of((320, 320))
    height = text_wh(title, sizes)[1] + GAP_PX
    width = max(tiles.shape[1], text_wh(title, sizes)[0])
    below = np.pad(_widened(tiles, width), ((0, GAP_PX), (0, 0), (0, 0)), constant_values=255)
    band = np.zeros((height, width, 3), np.uint8)
    return np.concatenate([255 - draw_lines(band, [title]), below])


def _widened(image: RGBImage, width: int) -> RGBImage:
    """White to the right."""
    return np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255)


def _side_by_side(tiles: Sequence[RGBImage]) -> RGBImage:
    """Of one height or not, filled up with white below, white lines between."""
    height = max(tile.shape[0] for tile in tiles)
    filled = [np.pad(tile, ((0, height - tile.shape[0]), (0, GAP_PX), (0, 0)), constant_values=255) for tile in tiles]
    return np.concatenate(filled, axis=1)[:, :-GAP_PX]

"""Images of textured shapes on cluttered backgrounds, drawn from a seeded generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

SYNTHETIC_CLASS_NAMES: tuple[str, ...] = ("circle", "square", "triangle", "cross")

_SIDE_FRACTIONS = ((0.09, 0.19), (0.19, 0.38), (0.38, 0.66))  # small, medium, large; of the image's shorter side
_EMPTY_PROBABILITY = 0.05
_COVERING_PROBABILITY = 0.12  # objects put on an earlier one, which they may mostly cover
_MAX_COVERED, _MAX_COVERED_DIFFICULT = 0.25, 0.8
_DIFFICULT_BELOW_VISIBLE = 0.5
_DIFFICULT_BELOW_SIDE_PX, _MIN_VISIBLE_SIDE_PX = 8, 4
_PLACEMENT_ATTEMPTS = 20

_Image = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SceneObject:
    """One drawn shape: ``visible`` is bool ``[H, W]``, ``box_xyxy`` its tight pixel edges."""

    name: str
    visible: _Mask
    box_xyxy: tuple[int, int, int, int]
    difficult: bool


@dataclass(frozen=True)
class Scene:
    """One image, uint8 BGR ``[H, W, 3]``, and its objects from back to front."""

    image_bgr: npt.NDArray[np.uint8]
    objects: tuple[SceneObject, ...]


def render_scene(rng: np.random.Generator, image_hw: tuple[int, int]) -> Scene:
    """Draw one image: background clutter, then 1 to 5 shapes (none in about 5 % of images)."""
    canvas = _background(rng, image_hw)
    names: list[str] = []
    masks: list[_Mask] = []
    visible: list[_Mask] = []
    count = 0 if rng.random() < _EMPTY_PROBABILITY else int(rng.integers(1, 6))
    for _ in range(count):
        name = SYNTHETIC_CLASS_NAMES[rng.integers(len(SYNTHETIC_CLASS_NAMES))]
        mask = _place(rng, name, image_hw, masks, visible)
        if mask is None:
            continue
        visible = [seen & ~mask for seen in visible] + [mask]
        masks.append(mask)
        names.append(name)
        canvas[mask] = _texture(rng, image_hw, away_from=canvas[mask].mean(axis=0))[mask]
    canvas += rng.normal(0, rng.uniform(0, 6), canvas.shape).astype(np.float32)
    objects = tuple(_scene_object(name, seen, mask) for name, seen, mask in zip(names, visible, masks, strict=True))
    return Scene(np.clip(canvas, 0, 255).astype(np.uint8), objects)


def _place(
    rng: np.random.Generator, name: str, image_hw: tuple[int, int], masks: list[_Mask], visible: list[_Mask]
) -> _Mask | None:
    """A mask ``[H, W]`` that leaves the earlier objects visible enough, or None where no place was found."""
    covering = bool(masks) and rng.random() < _COVERING_PROBABILITY
    least_visible = 1 - (_MAX_COVERED_DIFFICULT if covering else _MAX_COVERED)
    low, high = _SIDE_FRACTIONS[rng.integers(len(_SIDE_FRACTIONS))]
    radius = rng.uniform(low, high) * min(image_hw) / 2
    for _ in range(_PLACEMENT_ATTEMPTS):
        center_xy = rng.uniform(0, 1, 2) * image_hw[::-1]
        if covering:
            center_xy = rng.choice(np.argwhere(visible[rng.integers(len(visible))]))[::-1]
        mask = _shape_mask(rng, name, image_hw, center_xy, radius)
        pairs = zip(masks, visible, strict=True)
        if all(_still_visible(full, seen, mask, least_visible) for full, seen in pairs if (seen & mask).any()):
            return mask
    return None


def _still_visible(full: _Mask, seen: _Mask, cover: _Mask, least_visible: float) -> bool:
    """Whether ``cover`` leaves at least this fraction of ``full`` in sight, and not a mere sliver."""
    left = seen & ~cover
    return bool(left.sum() >= least_visible * full.sum()) and min(_extent(left)) >= _MIN_VISIBLE_SIDE_PX


def _shape_mask(
    rng: np.random.Generator, name: str, image_hw: tuple[int, int], center_xy: npt.NDArray[np.float64], radius: float
) -> _Mask:
    """A shape within a circle of this radius, moved wholly inside the image, turned at random."""
    margin = math.ceil(radius) + 1
    center = np.rint(np.clip(center_xy, margin, np.array(image_hw[::-1]) - 1 - margin)).astype(int)
    mask = np.zeros(image_hw, np.uint8)
    angle = rng.uniform(0, 2 * math.pi)
    if name == "circle":
        cv2.circle(mask, center.tolist(), max(round(0.9 * radius), 2), 1, cv2.FILLED)
    else:
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        points = center + radius * _outline(name) @ turn.T
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return mask.astype(np.bool_)


def _outline(name: str) -> npt.NDArray[np.float64]:
    """Corners ``[N, 2]`` of a polygon within the unit circle."""
    if name == "cross":
        arm, half = 0.95, 0.3
        quarter = np.array([[arm, -half], [arm, half], [half, half]])
        turns = [np.array([[c, -s], [s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
        return np.concatenate([quarter @ turn.T for turn in turns])
    corners = {"square": 4, "triangle": 3}[name]
    angles = 2 * math.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _scene_object(name: str, visible: _Mask, full: _Mask) -> SceneObject:
    ys, xs = np.nonzero(visible)
    box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    covered = visible.sum() < _DIFFICULT_BELOW_VISIBLE * full.sum()
    tiny = min(_extent(visible)) < _DIFFICULT_BELOW_SIDE_PX
    return SceneObject(name, visible, box, bool(covered or tiny))


def _extent(mask: _Mask) -> tuple[int, int]:
    """Height and width in pixels of the mask's tight box; (0, 0) for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) if rows.size else (0, 0)


def _texture(rng: np.random.Generator, image_hw: tuple[int, int], away_from: npt.NDArray[np.float32]) -> _Image:
    """A two-coloured fill ``[H, W, 3]``; the main colour is the farthest of three from ``away_from``."""
    candidates = rng.uniform(0, 255, (3, 3))
    main = candidates[np.linalg.norm(candidates - away_from, axis=1).argmax()]
    second = np.clip(main + rng.uniform(40, 100, 3) * rng.choice([-1, 1], 3), 0, 255)
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))](rng, image_hw)[..., None]
    return (main * (1 - pattern) + second * pattern).astype(np.float32)


def _stripes(rng: np.random.Generator, image_hw: tuple[int, int]) -> _Image:
    along, _ = _rotated_grid(rng, image_hw)
    return (np.sin(along * 2 * math.pi / rng.uniform(4, 14)) > 0).astype(np.float32)


def _checks(rng: np.random.Generator, image_hw: tuple[int, int]) -> _Image:
    cell = rng.uniform(3, 9)
    along, across = _rotated_grid(rng, image_hw)
    return ((np.floor(along / cell) + np.floor(across / cell)) % 2).astype(np.float32)


def _gradient(rng: np.random.Generator, image_hw: tuple[int, int]) -> _Image:
    along, _ = _rotated_grid(rng, image_hw)
    return ((along - along.min()) / np.ptp(along)).astype(np.float32)


def _noise(rng: np.random.Generator, image_hw: tuple[int, int], cell_px: int | None = None) -> _Image:
    """Smooth noise in [0, 1], one random value per cell of ``cell_px`` pixels (2 to 8 unless given)."""
    height, width = image_hw
    cell = cell_px or int(rng.integers(2, 9))
    coarse = rng.random((height // cell + 2, width // cell + 2)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)


_PATTERNS: tuple[Callable[[np.random.Generator, tuple[int, int]], _Image], ...] = (_stripes, _checks, _gradient, _noise)


def _rotated_grid(rng: np.random.Generator, image_hw: tuple[int, int]) -> tuple[_Image, _Image]:
    """Pixel coordinates ``[H, W]`` along and across a random direction."""
    ys, xs = np.mgrid[: image_hw[0], : image_hw[1]].astype(np.float32)
    angle = rng.uniform(0, math.pi)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cos * xs + sin * ys, cos * ys - sin * xs


def _background(rng: np.random.Generator, image_hw: tuple[int, int]) -> _Image:
    """A gradient, noise at several scales, lines and irregular blobs: ``[H, W, 3]`` in [0, 255]."""
    first, second = rng.uniform(20, 235, (2, 3))
    second = first + (second - first) * rng.uniform(0, 0.6)
    ramp = _gradient(rng, image_hw)[..., None]
    canvas = (first * (1 - ramp) + second * ramp).astype(np.float32)
    for cell_px in (2, 8, 32):
        strength = rng.uniform(0, 45)
        canvas += ((_noise(rng, image_hw, cell_px) - 0.5) * strength)[..., None] * rng.uniform(0.3, 1, 3)
    canvas = np.ascontiguousarray(canvas, np.float32)
    scale = min(image_hw)
    for _ in range(rng.integers(0, 5)):
        center = rng.uniform(0, 1, 2) * image_hw[::-1]
        angles = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(6, 12)))
        radii = rng.uniform(0.03, 0.2) * scale * rng.uniform(0.3, 1, angles.size)
        points = center + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], _near_colour(rng, first))
    for _ in range(rng.integers(0, 7)):
        start, end = np.rint(rng.uniform(0, 1, (2, 2)) * image_hw[::-1]).astype(int).tolist()
        cv2.line(canvas, start, end, _near_colour(rng, first), int(rng.integers(1, 4)))
    return np.clip(canvas, 0, 255)


def _near_colour(rng: np.random.Generator, colour: npt.NDArray[np.float64]) -> list[float]:
    return [float(value) for value in np.clip(colour + rng.uniform(-90, 90, 3), 0, 255)]

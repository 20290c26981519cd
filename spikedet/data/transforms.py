"""Letterboxing: an image into the square network input, boxes back into the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from ultralytics.data.augment import LetterBox

KEPT_BYTES = 4 * 2**30
"""Images of a dataset that need no more than this as inputs stay in memory."""


def letterbox(image_rgb: npt.NDArray[np.uint8], image_size: int) -> npt.NDArray[np.uint8]:
    """Resize the longer side to ``image_size`` and pad the shorter one evenly with grey (114).

    Shape: ``[H, W, 3]`` -> ``[image_size, image_size, 3]``.
    """
    return np.asarray(LetterBox(new_shape=(image_size, image_size))(image=image_rgb), np.uint8)


def to_input(images_rgb: Sequence[npt.NDArray[np.uint8]], image_size: int) -> Tensor:
    """Images of any size as one network input: float32 ``[N, 3, image_size, image_size]`` in [0, 1]."""
    return as_input(letterboxed(images_rgb, image_size))


def letterboxed(images_rgb: Sequence[npt.NDArray[np.uint8]], image_size: int) -> Tensor:
    """The same before scaling: uint8 ``[N, 3, image_size, image_size]``."""
    stacked = np.stack([letterbox(image, image_size) for image in images_rgb])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def as_input(bytes_: Tensor) -> Tensor:
    """uint8 in 0..255 -> float32 in [0, 1]."""
    return bytes_.float().div_(255)


def from_letterbox(boxes_xyxy: Tensor, image_size: int, image_hw: tuple[int, int]) -> Tensor:
    """Boxes ``[K, 4]`` in input pixels to pixels of the original image, clipped to it."""
    height, width = image_hw
    gain = min(image_size / height, image_size / width)
    resized_hw = max(round(height * gain), 1), max(round(width * gain), 1)
    left = round((image_size - resized_hw[1]) / 2 - 0.1)
    top = round((image_size - resized_hw[0]) / 2 - 0.1)
    moved = (boxes_xyxy - boxes_xyxy.new_tensor([left, top, left, top])) / gain
    limit = moved.new_tensor([width, height, width, height])
    return torch.minimum(moved.clamp_min(0), limit)

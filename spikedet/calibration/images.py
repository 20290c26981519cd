"""Network inputs without labels: images as they are or put together from four, kept in memory where they fit.

Ultralytics' mosaic moves boxes along with the images; here the target is what a teacher says of the input, so that
the mosaic is made of tensors, on the device that trains.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.data import DetectionDataset
from spikedet.data.transforms import KEPT_BYTES, as_input, letterboxed

GREY = 114 / 255
"""What images are padded with."""

CENTRE = 0.6
"""The four images of a mosaic meet at most so far from the middle, in units of half the side."""

SCALES = (0.4, 1.2)
"""Sides of a mosaic's images, in units of the input's side."""

CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
"""Direction (x, y) from the centre in which each image of a mosaic lies."""


class Recipes(NamedTuple):
    """Where the inputs of an epoch come from, one row each.

    Attributes:
        numbers: ``[count, 4]``, of the images: the first alone, or all four in a mosaic.
        mosaic: ``[count]``, whether it is one.
        mirrored: ``[count, 4]``, whether each image is mirrored.
        centres_xy: ``[count, 2]``, where four meet, in [-1, 1].
        scales: ``[count, 4]``, of each of the four.
    """

    numbers: npt.NDArray[np.int64]
    mosaic: npt.NDArray[np.bool_]
    mirrored: npt.NDArray[np.bool_]
    centres_xy: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]


def recipes(count: int, mosaic: float, draw: np.random.Generator) -> Recipes:
    """An epoch: each of ``count`` images once, in random order; ``mosaic`` of them (0 to 1) with three others."""
    order = draw.permutation(count)
    mirrored = draw.random((count, 4)) < 0.5
    four = draw.random(count) < mosaic
    others = draw.integers(0, count, (count, 3))
    centres = draw.uniform(-CENTRE, CENTRE, (count, 2))
    scales = draw.uniform(*SCALES, (count, 4))
    return Recipes(np.column_stack([order, others]), four, mirrored, centres, scales)


class TrainingImages:
    """The images of a dataset as network inputs.

    They are read once, where they need no more than ``KEPT_BYTES`` on a CPU or a quarter of what is free on a GPU, and
    anew every time elsewhere.

    Args:
        dataset: the images.
        image_size: side S of the square input.
        device: that inputs are made on.
    """

    def __init__(self, dataset: DetectionDataset, image_size: int, device: torch.device) -> None:
        self.dataset, self.image_size, self.device = dataset, image_size, device
        self._kept = self._read_all() if self._fits() else None

    def __len__(self) -> int:
        return len(self.dataset)

    def plain(self, numbers: Sequence[int]) -> Tensor:
        """These images, letterboxed: float32 ``[N, 3, S, S]`` in [0, 1]. Raises DataError for a broken one."""
        if self._kept is not None:
            return as_input(self._kept[torch.as_tensor(numbers, device=self.device)])
        return as_input(self._letterboxed(numbers).to(self.device))

    def cook(self, epoch: Recipes, rows: Sequence[int]) -> Tensor:
        """What these rows of an epoch say, ``[N, 3, S, S]``."""
        batch = (torch.from_numpy(part[list(rows)]).to(self.device) for part in epoch)
        numbers, mosaic, mirrored, centres_xy, scales = batch
        quarters = torch.arange(4, device=self.device)
        used = mosaic.unsqueeze(1) | (quarters == 0)
        pieces = self.plain(numbers[used].tolist())
        pieces = torch.where(mirrored[used].view(-1, 1, 1, 1), pieces.flip(-1), pieces)
        firsts = used.sum(1).cumsum(0) - used.sum(1)
        made = pieces[firsts]
        if mosaic.any():
            four = pieces[firsts[mosaic].unsqueeze(1) + quarters]
            made[mosaic] = mosaics(four, centres_xy[mosaic].float(), scales[mosaic].float())
        return made

    def _fits(self) -> bool:
        needed = len(self.dataset) * 3 * self.image_size**2
        free = torch.cuda.mem_get_info(self.device)[0] // 4 if self.device.type == "cuda" else KEPT_BYTES
        return needed <= free

    def _read_all(self) -> Tensor:
        kept = torch.empty((len(self.dataset), 3, self.image_size, self.image_size), dtype=torch.uint8)

        def read(number: int) -> None:
            kept[number] = self._letterboxed([number])[0]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(read, range(len(self.dataset))))
        return kept.to(self.device)

    def _letterboxed(self, numbers: Sequence[int]) -> Tensor:
        return letterboxed([self.dataset.read_image(i) for i in numbers], self.image_size)


def mosaics(images: Tensor, centres_xy: Tensor, scales: Tensor) -> Tensor:
    """Four images around a point, each scaled and cut off at the border; grey where none of them reaches.

    Args:
        images: ``[M, 4, 3, S, S]``: upper left, upper right, lower left, lower right.
        centres_xy: ``[M, 2]``, the points, in [-1, 1] from border to border.
        scales: ``[M, 4]``, side of each image in units of S.

    Returns:
        ``[M, 3, S, S]``.
    """
    count, side = len(images), images.shape[-1]
    corners = images.new_tensor(CORNERS)
    # An image's inner corner lies at the centre: u = (x - centre) / scale - corner, from -1 to 1 across the image.
    matrices = images.new_zeros((count, 4, 2, 3))
    matrices[..., 0, 0] = matrices[..., 1, 1] = 1 / scales
    matrices[..., 2] = -centres_xy.unsqueeze(1) / scales.unsqueeze(2) - corners
    grid = F.affine_grid(matrices.flatten(0, 1), [4 * count, 1, side, side], align_corners=False)
    sampled = F.grid_sample(images.flatten(0, 1), grid, padding_mode="border", align_corners=False)
    reached = (grid.abs() <= 1).all(-1).unsqueeze(1)
    parts = torch.where(reached, sampled, GREY).unflatten(0, (count, 4))
    places = (torch.arange(side, device=images.device) * 2 + 1) / side - 1
    right, below = (places > centres_xy[:, axis : axis + 1] for axis in (0, 1))  # [M, S]
    upper, lower = (torch.where(right[:, None, None], parts[:, row + 1], parts[:, row]) for row in (0, 2))
    return torch.where(below[:, None, :, None], lower, upper)

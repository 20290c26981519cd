"""Network inputs without labels: pictures as they are or put together from four, kept in memory where they fit.

Ultralytics' mosaic moves boxes along with the pictures; here the target is what a teacher says of the input, so that
the mosaic is made of tensors, on the device that trains.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.data import DetectionDataset
from spikedet.data.transforms import as_input, letterboxed

GREY = 114 / 255
"""What pictures are padded with."""

CENTRE = 0.6
"""The four pictures of a mosaic meet at most so far from the middle, in units of half the side."""

SCALES = (0.4, 1.2)
"""Sides of a mosaic's pictures, in units of the input's side."""

KEPT_BYTES = 4 * 2**30
"""Pictures that need more than this on a CPU, or a quarter of what is free on a GPU, are read anew every time."""

CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
"""Direction (x, y) from the centre in which each picture of a mosaic lies."""


@dataclass(frozen=True)
class Recipe:
    """Where one input comes from.

    Attributes:
        numbers: of the pictures: one, or four for a mosaic.
        mirrored: whether each is mirrored.
        centre_xy: where four meet, in [-1, 1].
        scales: of each of the four.
    """

    numbers: tuple[int, ...]
    mirrored: tuple[bool, ...]
    centre_xy: tuple[float, float] = (0.0, 0.0)
    scales: tuple[float, ...] = ()


def recipes(count: int, mosaic: float, draw: np.random.Generator) -> list[Recipe]:
    """An epoch: each of ``count`` pictures once, in random order; ``mosaic`` of them (0 to 1) with three others."""
    order = draw.permutation(count)
    mirrored = draw.random((count, 4)) < 0.5
    four = draw.random(count) < mosaic
    others = draw.integers(0, count, (count, 3))
    centres = draw.uniform(-CENTRE, CENTRE, (count, 2))
    scales = draw.uniform(*SCALES, (count, 4))
    made = []
    for i, number in enumerate(order.tolist()):
        if four[i]:
            x, y = centres[i].tolist()
            made.append(
                Recipe((number, *others[i].tolist()), tuple(mirrored[i].tolist()), (x, y), tuple(scales[i].tolist()))
            )
        else:
            made.append(Recipe((number,), (bool(mirrored[i, 0]),)))
    return made


class Pictures:
    """The pictures of a dataset as network inputs.

    Args:
        dataset: the pictures.
        image_size: side S of the square input.
        device: that inputs are made on.
    """

    def __init__(self, dataset: DetectionDataset, image_size: int, device: torch.device) -> None:
        self.dataset, self.image_size, self.device = dataset, image_size, device
        self._kept = self._read_all() if self._fits() else None

    def __len__(self) -> int:
        return len(self.dataset)

    def plain(self, numbers: Sequence[int]) -> Tensor:
        """These pictures, letterboxed: float32 ``[N, 3, S, S]`` in [0, 1]. Raises DataError for a broken one."""
        if self._kept is not None:
            return as_input(self._kept[torch.as_tensor(numbers, device=self.device)])
        return as_input(self._letterboxed(numbers).to(self.device))

    def cook(self, batch: Sequence[Recipe]) -> Tensor:
        """What the recipes say, ``[N, 3, S, S]``."""
        pieces = iter(self._mirrored(batch))
        return torch.stack([self._put_together(recipe, pieces) for recipe in batch])

    def _mirrored(self, batch: Sequence[Recipe]) -> Tensor:
        """Every picture of every recipe, one after the other, read at once."""
        images = self.plain([number for recipe in batch for number in recipe.numbers])
        flags = torch.tensor([flag for recipe in batch for flag in recipe.mirrored], device=self.device)
        return torch.where(flags.view(-1, 1, 1, 1), images.flip(-1), images)

    def _put_together(self, recipe: Recipe, pieces: Iterator[Tensor]) -> Tensor:
        if len(recipe.numbers) == 1:
            return next(pieces)
        return mosaic([next(pieces) for _ in recipe.numbers], recipe.centre_xy, recipe.scales)

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


def mosaic(pictures: Sequence[Tensor], centre_xy: tuple[float, float], scales: Sequence[float]) -> Tensor:
    """Four pictures around a point, each scaled and cut off at the border; grey where none of them reaches.

    Args:
        pictures: four of ``[3, S, S]``: upper left, upper right, lower left, lower right.
        centre_xy: the point, in [-1, 1] from border to border.
        scales: side of each picture in units of S.

    Returns:
        ``[3, S, S]``.
    """
    side = pictures[0].shape[-1]
    (x, y), (column, row) = centre_xy, (round((c + 1) / 2 * side) for c in centre_xy)
    made = torch.empty_like(pictures[0])
    for picture, (right, down), scale in zip(pictures, CORNERS, scales, strict=True):
        columns = slice(column, side) if right > 0 else slice(0, column)
        rows = slice(row, side) if down > 0 else slice(0, row)
        # The picture's corner lies at the centre: u = (x - centre) / scale - right, from -1 to 1 across the picture.
        matrix = picture.new_tensor([[[1 / scale, 0, -x / scale - right], [0, 1 / scale, -y / scale - down]]])
        grid = F.affine_grid(matrix, [1, 1, side, side], align_corners=False)[:, rows, columns]
        if math.prod(grid.shape):
            sampled = F.grid_sample(picture.unsqueeze(0), grid, padding_mode="border", align_corners=False)[0]
            made[:, rows, columns] = sampled.where((grid[0].abs() <= 1).all(-1), GREY)
    return made

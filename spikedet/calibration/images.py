"""Network inputs without labels: images as they are or put together from four, kept in memory where they fit.

Ultralytics' mosaic moves boxes along with the images; here the target is what a teacher says of the input, so that
the mosaic is made of tensors, on the device that trains.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
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


@dataclass(frozen=True)
class Recipe:
    """Where one input comes from.

    Attributes:
        numbers: of the images: one, or four for a mosaic.
        mirrored: whether each is mirrored.
        centre_xy: where four meet, in [-1, 1].
        scales: of each of the four.
    """

    numbers: tuple[int, ...]
    mirrored: tuple[bool, ...]
    centre_xy: tuple[float, float] = (0.0, 0.0)
    scales: tuple[float, ...] = ()


def recipes(count: int, mosaic: float, draw: np.random.Generator) -> list[Recipe]:
    """An epoch: each of ``count`` images once, in random order; ``mosaic`` of them (0 to 1) with three others."""
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

    def cook(self, batch: Sequence[Recipe]) -> Tensor:
        """What the recipes say, ``[N, 3, S, S]``."""
        pieces = self.plain([number for recipe in batch for number in recipe.numbers])
        flags = torch.tensor([flag for recipe in batch for flag in recipe.mirrored], device=self.device)
        pieces = torch.where(flags.view(-1, 1, 1, 1), pieces.flip(-1), pieces)
        firsts = np.cumsum([0, *(len(recipe.numbers) for recipe in batch)])[:-1]
        made = pieces[torch.as_tensor(firsts, device=self.device)]
        if fours := [i for i, recipe in enumerate(batch) if len(recipe.numbers) == 4]:
            chosen = torch.as_tensor(firsts[fours, None] + np.arange(4), device=self.device)
            centres = torch.tensor([batch[i].centre_xy for i in fours], device=self.device)
            scales = torch.tensor([batch[i].scales for i in fours], device=self.device)
            made[torch.tensor(fours, device=self.device)] = mosaics(pieces[chosen], centres, scales)
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

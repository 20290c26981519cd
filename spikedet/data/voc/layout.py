"""PASCAL VOC layout: year folders with ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.

VOC corners are 1-based and inclusive; ours are continuous pixel edges:
``(xmin - 1, ymin - 1, xmax, ymax)``, clipped to the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.config import SourceLayout
from spikedet.data.dataset import DetectionDataset
from spikedet.data.layout import Box, Listing, folder_name, in_usual_order
from spikedet.data.reading import load_split
from spikedet.data.voc.splits import VOC_CLASS_NAMES, split_entries, split_names, year_folders


@dataclass(frozen=True)
class VocLayout:
    """A year folder, or a devkit folder whose sub-folders are year folders."""

    root: Path
    kind: SourceLayout = "voc"
    seen: str = "VOC with ImageSets/Main"

    @property
    def name(self) -> str:
        """The folder's name."""
        return folder_name(self.root)

    def splits(self) -> list[str]:
        """Names of the split files in any year, without the per-class lists of the devkit.

        Raises:
            DataError: there is none.
        """
        names = in_usual_order(split_names(self.root))
        if not names:
            raise DataError(f"{self.root}: no split; expected ImageSets/Main/train.txt or the like, an id in each line")
        return names

    def listing(self, split: str) -> Listing:
        """Parts are ``train`` (every year that has it) or ``VOC2007/train`` (one year).

        Raises:
            DataError: the folder or split is missing, or a split file cannot be read.
        """
        choose = partial(_choose_names, self.root)
        return Listing(split, tuple(split_entries(self.root, split)), choose, voc_edges)


def load_voc(
    root: Path,
    split: str,
    class_names: Sequence[str] | None = None,
    strict: bool = False,
    skip_bad: bool = False,
) -> DetectionDataset:
    """Read a split of a VOC folder; unless bad ones are skipped, images are not decoded, only their headers are read.

    Args:
        root: a year folder, or a devkit folder whose sub-folders are year folders.
        split: ``+``-joined parts, each ``train`` (every year that has it) or ``VOC2007/train`` (one year).
            An image named by several parts is taken once.
        class_names: the classes in label order; None takes those of ``discover_class_names``.
        strict: as ``load_split`` takes it.
        skip_bad: as ``load_split`` takes it.

    Raises:
        DataError: the folder, split, an annotation or an image is missing or invalid, or a class is unknown.
    """
    return load_split(VocLayout(Path(root)), split, class_names, strict, skip_bad)


def discover_class_names(root: Path, split: str) -> tuple[str, ...]:
    """The class names that a split's annotations use, sorted.

    Folders named VOCyyyy that use no other than the 20 VOC classes get all of ``VOC_CLASS_NAMES``.

    Raises:
        DataError: as ``load_voc``, or when the split has no object at all.
    """
    listing = VocLayout(Path(root)).listing(split)
    names = listing.choose_names({item.name for entry in listing.entries for item in entry.read().objects})
    if not names:
        raise DataError(f"{root}: split {split!r} has no object to learn the classes from; give the class names")
    return names


def voc_edges(corners: Box, image_hw: tuple[int, int]) -> Box:
    """VOC's xmin, ymin, xmax, ymax to pixel edges; corners that coincide make a box without area, swapped ones stay."""
    xmin, ymin, xmax, ymax = corners
    if xmax == xmin or ymax == ymin:
        return xmin - 1, ymin - 1, xmin - 1, ymin - 1
    x0, x1 = (xmin - 1, xmax) if xmin < xmax else (xmin, xmax - 1)
    y0, y1 = (ymin - 1, ymax) if ymin < ymax else (ymin, ymax - 1)
    return x0, y0, x1, y1


def _choose_names(root: Path, used: set[str]) -> tuple[str, ...]:
    official = all(re.fullmatch(r"VOC\d{4}", folder_name(year)) for year in year_folders(root))
    return VOC_CLASS_NAMES if official and used <= set(VOC_CLASS_NAMES) else tuple(sorted(used))

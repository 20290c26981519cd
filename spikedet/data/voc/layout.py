"""PASCAL VOC layout: year folders with ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.

VOC corners are 1-based and inclusive; ours are continuous pixel edges:
``(xmin - 1, ymin - 1, xmax, ymax)``, clipped to the image.
"""

from __future__ import annotations

import re
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.layout import Box, Layout, Listing, folder_name
from spikedet.data.split_names import in_usual_order
from spikedet.data.voc.splits import VOC_CLASS_NAMES, split_entries, split_names, year_folders


class VocLayout(Layout):
    """A year folder, or a devkit folder whose sub-folders are year folders."""

    def __init__(self, root: Path) -> None:
        super().__init__("voc", "VOC with ImageSets/Main", root)

    def splits(self) -> list[str]:
        """Names of the split files in any year."""
        names = in_usual_order(split_names(self.root))
        if not names:
            raise DataError(f"{self.root}: no split; expected ImageSets/Main/train.txt or the like, an id in each line")
        return names

    def listing(self, split: str) -> Listing:
        """Parts are ``train`` (every year that has it) or ``VOC2007/train`` (one year)."""
        return Listing(split, split_entries(self.root, split), self._class_names, voc_edges)

    def _class_names(self, used: set[str]) -> tuple[str, ...]:
        official = all(re.fullmatch(r"VOC\d{4}", folder_name(year)) for year in year_folders(self.root))
        return VOC_CLASS_NAMES if official and used <= set(VOC_CLASS_NAMES) else tuple(sorted(used))


def voc_edges(corners: Box, image_hw: tuple[int, int]) -> Box:
    """VOC's xmin, ymin, xmax, ymax to pixel edges; corners that coincide make a box without area, swapped ones stay."""
    xmin, ymin, xmax, ymax = corners
    if xmax == xmin or ymax == ymin:
        return xmin - 1, ymin - 1, xmin - 1, ymin - 1
    x0, x1 = (xmin - 1, xmax) if xmin < xmax else (xmin, xmax - 1)
    y0, y1 = (ymin - 1, ymax) if ymin < ymax else (ymin, ymax - 1)
    return x0, y0, x1, y1

"""Images found by a name that a file has for them, wherever that file was written.

The name may begin with folders of another machine and may have backslashes. It only chooses among the images that the
folder has, so it cannot lead out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile

from spikedet.common.errors import DataError
from spikedet.data.pairs import folder_of, split_of
from spikedet.data.values import shown


class Lookup:
    """The images of a folder by their names."""

    def __init__(self, images: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for image in images:
            name = image.rpartition("/")[2].casefold()
            self._by_name.setdefault(name, []).append(image)
            self._by_stem.setdefault(name.rpartition(".")[0], []).append(image)

    def find(self, written: str, where: str, near: str = "", split: str = "") -> str:
        """The relative path of the image.

        Args:
            written: its name, with or without folders and ending.
            where: the file that has it, for errors.
            near: the relative folder of that file; images in it or below it are preferred.
            split: of that file; images in folders of another split are not taken where others are there.

        Raises:
            DataError: no image or several have this name.
        """
        parts = [part for part in re.split(r"[/\\]", written.strip()) if part not in ("", ".", "..")]
        name = parts[-1].casefold() if parts else ""
        found = self._by_name.get(name) or self._by_stem.get(name) or self._by_stem.get(name.rpartition(".")[0], [])
        if not found:
            raise DataError(f"{where}: image {shown(written)} not found; add it, or remove what names it")
        if len(found) == 1:
            return found[0]
        own = [image for image in found if split and split_of(folder_of(image)) == split]
        ranked = sorted((-_common_end(image, parts), not _below(image, near), image) for image in own or found)
        best = [image for *rank, image in ranked if rank == list(ranked[0][:2])]
        exact = [image for image in best if image.rpartition("/")[2] == parts[-1]]
        if len(exact) == 1:
            return exact[0]
        if len(best) > 1:
            raise DataError(f"{where}: image {shown(written)} may be {best[0]} or {best[1]}; write its folder")
        return best[0]


def _common_end(image: str, parts: list[str]) -> int:
    """How many parts, from the last, two paths share; their endings may differ."""
    pairs = zip(image.split("/")[-2::-1], parts[-2::-1], strict=False)
    return sum(takewhile(bool, (a.casefold() == b.casefold() for a, b in pairs)))


def _below(image: str, folder: str) -> bool:
    return not folder or image.startswith(f"{folder}/")

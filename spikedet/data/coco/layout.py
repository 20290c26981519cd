"""COCO layout: JSON annotation files, each with its categories, and images in folders beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.class_names import check_same_names
from spikedet.data.coco.files import find_annotations, full_split_name, image_folders, short_split_name, split_files
from spikedet.data.coco.json import CocoImage, coco_edges, read_coco, refuse_shared_
from spikedet.data.layout import AnnotatedImage, Entry, Layout, Listing, broken_entry, folder_name, unique_entries
from spikedet.data.lookup import Lookup
from spikedet.data.paths import contained
from spikedet.data.split_names import USUAL_SPLITS, split_parts, usual_split
from spikedet.data.values import shown


class CocoLayout(Layout):
    """A folder with annotation files, or one such file.

    Args:
        root: the dataset's folder; no ``file_name`` leads out of it, links resolved.
        file: the only annotation file, whatever split is asked for; None has one for each split.
        lookup: every image of the folder, for those that are in none of COCO's usual places.
    """

    def __init__(self, root: Path, file: Path | None = None, lookup: Lookup | None = None) -> None:
        super().__init__("coco", "COCO JSON", root.resolve(), folder_name(root))
        self.file, self.lookup = file, lookup

    def splits(self) -> list[str]:
        """The splits that have an annotation file."""
        return list(split_files(self.root)) if self.file is None else [full_split_name(self.file)]

    def listing(self, split: str) -> Listing:
        """Parts are ``train`` or ``train2017``; an only file is any split but one that it is plainly not of."""
        if self.file is not None:
            _refuse_other_split(self.file, split)
        files = [self.file] if self.file else [find_annotations(self.root, part) for part in split_parts(split)]
        entries: list[Entry] = []
        names: tuple[str, ...] = ()
        remarks: list[str] = []
        for file in files:
            content = read_coco(file)
            if not content.images and not content.stray:
                raise DataError(f"{file}: 'images' is empty; expected at least one image")
            check_same_names(self.root, files[0].name, names or content.class_names, file.name, content.class_names)
            names = content.class_names
            folders = image_folders(self.root, file, beside=self.file is not None)
            entries += _entries(self.root, file, content.images, folders, self.lookup)
            entries += (broken_entry(reason, None, file, reason) for reason in content.stray)
            remarks += content.repeated
        shown_split = full_split_name(self.file) if self.file else split
        return Listing(shown_split, unique_entries(entries), lambda _: names, coco_edges, lambda: remarks)


def coco_file(file: Path) -> CocoLayout:
    """The layout of one annotation file: its folder is the dataset's, or where that is ``annotations``, the one above.

    Raises:
        DataError: there is no such file.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected COCO annotations")
    home = Path(os.path.abspath(file)).parent
    root = home.parent if home.name.lower().startswith("ann") else home
    return CocoLayout(root, file)


def _refuse_other_split(file: Path, split: str) -> None:
    """``instances_val2017.json`` is no split "test"; a file whose name is no usual split's is whatever is asked for."""
    own, asked = short_split_name(full_split_name(file)), short_split_name(split)
    if own != asked and {own, asked} <= set(USUAL_SPLITS):
        raise DataError(
            f"{file}: the split {own!r}, not {asked!r}; give --split {own}, or the file or folder that has {asked!r}"
        )


def _entries(
    root: Path, file: Path, images: Sequence[CocoImage], folders: Sequence[Path], lookup: Lookup | None
) -> Iterator[Entry]:
    """One entry for each image; what several images share is broken, as each lacks the objects of the others."""
    found = [_find(root, file, image.file_name, folders, lookup) if image.file_name else "" for image in images]
    refuse_shared_(file, [(image, path) for image, path in zip(images, found, strict=True) if isinstance(path, Path)])
    for image, path in zip(images, found, strict=True):
        if isinstance(path, str):
            reason = image.problem or path
            yield broken_entry(reason, None, file, reason)
        elif image.problem:
            yield broken_entry(path.relative_to(root).as_posix(), path, file, image.problem)
        else:
            read = partial(AnnotatedImage, image.objects, image.image_hw)
            yield Entry(path.relative_to(root).as_posix(), path, file, read)


def _find(root: Path, file: Path, file_name: str, folders: Sequence[Path], lookup: Lookup | None) -> Path | str:
    """The image of this name in the first folder that has it, or the reason why there is none."""
    reason = f"{file}: image {shown(file_name)} not found in {root}; add it, or correct its file_name"
    for folder in folders:
        try:
            path = contained(root, file_name, str(file), folder)
        except DataError as error:
            reason = str(error)
            continue
        if os.path.isfile(path):
            return path
    try:
        split = usual_split(short_split_name(full_split_name(file)))
        return contained(root, lookup.find(file_name, str(file), split=split), str(file)) if lookup else reason
    except DataError:
        return reason

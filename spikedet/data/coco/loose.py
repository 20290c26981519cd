"""COCO JSON files of any name, beside or above their images: one for all, or one for each split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.class_names import check_same_names
from spikedet.data.coco.json import CocoImage, coco_edges, read_coco, refuse_shared_
from spikedet.data.layout import AnnotatedImage, Entry
from spikedet.data.lookup import Lookup
from spikedet.data.loose import Found, named_entry, note_unnamed
from spikedet.data.pairs import folder_of, splits_of_files
from spikedet.data.text import read_ends
from spikedet.data.walk import Tree

MOST_FILES = 200
"""More JSON files than this that belong to no image are not looked into: COCO has a few."""

_LISTS = [re.compile(rb'"%s"\s*:\s*\[' % name) for name in (b"images", b"annotations", b"categories")]


def is_coco(ends: bytes) -> bool:
    """Whether the start and end of a file are of COCO's JSON; of its three lists one may lie between."""
    return sum(bool(pattern.search(ends)) for pattern in _LISTS) >= 2 or b'"iscrowd"' in ends


def find_coco(tree: Tree, images: Sequence[str]) -> Found | str:
    """The images that COCO files name, or what is missing ("" where there is no such file).

    Raises:
        DataError: a file is not whole, or several have no split in their names.
    """
    stems = {image.rpartition(".")[0] for image in images}
    candidates = [path for path in sorted(tree.files([".json"])) if path.rpartition(".")[0] not in stems]
    files = [path for path in candidates[:MOST_FILES] if is_coco(read_ends(tree.root / path))]
    files = [path for path in files if path.rpartition("/")[2].startswith("instances")] or files
    if not files or not images:
        return ""
    splits = splits_of_files(tree.root, files)
    lookup, names = Lookup(images), tuple[str, ...]()
    entries: dict[str, Entry] = {}
    notes: list[str] = []
    stray: list[tuple[str, Path, str]] = []
    for path, split in splits.items():
        content = read_coco(tree.root / path)
        check_same_names(tree.root, files[0], names or content.class_names, path, content.class_names)
        names = content.class_names
        found, missing = _entries(tree, path, split, content.images, lookup)
        if twice := next((image for image in found if image in entries), None):
            first = entries[twice].annotation.relative_to(tree.root)
            raise DataError(f"{tree.root}: both {first} and {path} have the image {twice}; keep it in one")
        entries |= found
        stray += [(split, tree.root / path, reason) for reason in (*missing, *content.stray)]
        notes += content.repeated
    if not entries:
        return f"{files[0]} names no image that is here"
    notes += note_unnamed(images, entries, "COCO file")
    ordered = [entries[image] for image in sorted(entries)]
    return Found("coco", f"COCO JSON ({', '.join(files[:3])})", ordered, coco_edges, names, notes, stray)


def _entries(
    tree: Tree, path: str, split: str, images: Sequence[CocoImage], lookup: Lookup
) -> tuple[dict[str, Entry], list[str]]:
    """The images of a file that are there, and why the others are not."""
    file, found, missing = tree.root / path, [], []
    for image in images:
        try:
            where = image.file_name and lookup.find(image.file_name, str(file), folder_of(path), split)
        except DataError as error:
            where, image.problem = "", str(error)
        if where:
            found.append((image, where))
        else:
            missing.append(image.problem)
    refuse_shared_(file, found)
    entries = {
        where: named_entry(tree, where, path, split, AnnotatedImage(image.objects, image.image_hw), image.problem)
        for image, where in found
    }
    return entries, missing

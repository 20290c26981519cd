"""Images and annotation files of the same stem put together, wherever the two lie in a folder.

An annotation beside its image is the closest, then one in a sister folder (``images/train`` and ``labels/train``,
``images`` and ``images/xml``), then one anywhere. Files of two different splits are never put together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.split_names import split_in_name, split_of_folder


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its annotation file, by relative paths.

    Attributes:
        image: the image.
        annotation: the file; "" where there is none.
        split: of the folders of the two; "" where these name none.
        problem: why the two cannot be put together, or "".
    """

    image: str
    annotation: str
    split: str
    problem: str = ""


def pair(images: Sequence[str], annotations: Iterable[str]) -> tuple[list[Pair], list[str]]:
    """Every image with its annotation, in the order of the images, and the annotations that no image has.

    Raises:
        DataError: a folder's path names two splits.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in annotations:
        by_stem[_stem(path).casefold()].append(path)
    found = [_closest(image, by_stem.get(_stem(image).casefold(), ())) for image in images]
    takers: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for image, (rank, annotation, _) in zip(images, found, strict=True):
        if annotation:
            takers[annotation].append((rank, image))
    shared = {path: sorted(who) for path, who in takers.items() if len(who) > 1}
    pairs = [_pair(image, *which, shared) for image, which in zip(images, found, strict=True)]
    taken = {pair.annotation for pair in pairs}
    lone = {stem: left for stem, paths in by_stem.items() if (left := [path for path in paths if path not in taken])}
    pairs = [_refuse_second(pair, lone.get(_stem(pair.image).casefold(), ())) for pair in pairs] if lone else pairs
    explained = {_stem(pair.image).casefold() for pair in pairs if pair.problem}
    return pairs, sorted(path for stem, paths in lone.items() if stem not in explained for path in paths)


def _closest(image: str, candidates: Sequence[str]) -> tuple[int, str, str]:
    """``(rank, annotation or "", problem or "")``."""
    if not candidates:
        return 0, "", ""
    home = folder_of(image)
    exact = [path for path in candidates if _stem(path) == _stem(image)]
    ranked = sorted((rank, path) for path in exact or candidates if (rank := _rank(home, folder_of(path))) is not None)
    if not ranked:
        return 0, "", ""
    best = [path for rank, path in ranked if rank == ranked[0][0]]
    if len(best) > 1:
        return ranked[0][0], "", f"{image}: its annotation may be {best[0]} or {best[1]}; keep one of them"
    return ranked[0][0], best[0], ""


def _pair(image: str, rank: int, annotation: str, problem: str, shared: dict[str, list[tuple[int, str]]]) -> Pair:
    if others := shared.get(annotation):
        if sum(other == others[0][0] for other, _ in others) > 1 and rank == others[0][0]:
            problem = f"{annotation}: it may belong to {others[0][1]} or {others[1][1]}; keep one image of the two"
        elif rank != others[0][0]:
            annotation = ""
    return Pair(image, annotation, split_of(folder_of(image)) or split_of(folder_of(annotation)), problem)


def _refuse_second(pair: Pair, lone: Sequence[str]) -> Pair:
    """A pair whose image has an annotation beside it has a problem where no other image has that in a sister folder."""
    home = folder_of(pair.image)
    others = [path for path in lone if _rank(home, folder_of(path)) == 1 and _stem(path) == _stem(pair.image)]
    if not others or pair.problem or folder_of(pair.annotation) != home or not pair.annotation:
        return pair
    return replace(
        pair, problem=f"{pair.image}: its annotation may be {pair.annotation} or {others[0]}; keep one of them"
    )


@cache
def _rank(image_folder: str, annotation_folder: str) -> int | None:
    """0 is the closest; None where the two folders are of different splits."""
    if image_folder == annotation_folder:
        return 0
    splits = {split for folder in (image_folder, annotation_folder) if (split := split_of(folder))}
    if len(splits) > 1:
        return None
    a, b = (folder.split("/") if folder else [] for folder in (image_folder, annotation_folder))
    sisters = len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) == 1
    nested = abs(len(a) - len(b)) == 1 and (a[:-1] == b or b[:-1] == a)
    return 1 if sisters or nested else 2


split_of = cache(split_of_folder)


def splits_of_files(root: Path, files: Sequence[str]) -> dict[str, str]:
    """The split of each file that is about many images, by its name or folder; "" for an only file that names none.

    Raises:
        DataError: one of several names no split, or two name the same.
    """
    splits = {path: split_in_name(_stem(path)) or split_of(folder_of(path)) for path in files}
    if len(files) > 1 and ("" in splits.values() or len(set(splits.values())) < len(files)):
        raise DataError(f"{root}: which of {', '.join(files[:5])} is which split? keep one, or one of each split")
    return splits


def folder_of(path: str) -> str:
    """The relative folder of a relative path."""
    return path.rpartition("/")[0]


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]

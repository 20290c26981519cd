"""Which annotation file a COCO split is, and in which folders its images may lie.

Annotation files are ``annotations/instances_train2017.json`` and the like, or ``train/_annotations.coco.json``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.split_names import in_usual_order
from spikedet.data.walk import visible

_INSTANCES = "instances_"
_BESIDE_IMAGES = "_annotations.coco.json"


def annotation_files(root: Path) -> list[Path]:
    """Every annotation file of a folder, by name; [] where it is no COCO dataset."""
    folder = root / "annotations"
    found = [path for path in visible(folder) if path.suffix == ".json"] if folder.is_dir() else []
    found += [path / _BESIDE_IMAGES for path in visible(root) if path.is_dir()]
    return sorted(path for path in found if path.is_file())


def has_usual_name(file: Path) -> bool:
    """Whether the name of an annotation file alone says that it is COCO's."""
    return file.name.startswith(_INSTANCES) or file.name == _BESIDE_IMAGES


def full_split_name(file: Path) -> str:
    """``instances_train2017.json`` -> "train2017"; for a file among its images, the folder's name."""
    if file.name == _BESIDE_IMAGES:
        return file.resolve().parent.name
    instances = file.stem.startswith(_INSTANCES)
    return file.stem.removeprefix(_INSTANCES) if instances else file.stem.rpartition("_")[2] or file.stem


def short_split_name(full: str) -> str:
    """Without the year: "train2017" -> "train"."""
    return re.sub(r"(?<=.)\d{4}$", "", full)


def split_files(root: Path) -> dict[str, Path]:
    """The annotation file of every split, by the shortest name that no other has: "train", "train2017" or the stem.

    Other files (captions, keypoints) beside ``instances_*.json`` are no splits.
    """
    files = annotation_files(root)
    named = [path for path in files if path.name.startswith(_INSTANCES)] or files
    full = {path: full_split_name(path) for path in named}
    short = {path: short_split_name(name) for path, name in full.items()}
    short_times, full_times = Counter(short.values()), Counter(full.values())
    found = {}
    for path in named:
        name = full[path] if full_times[full[path]] == 1 else path.stem
        found[short[path] if short_times[short[path]] == 1 else name] = path
    return {name: found[name] for name in in_usual_order(found)}


def find_annotations(root: Path, split: str) -> Path:
    """The annotation file of one split.

    Raises:
        DataError: there is none, or there are several of equal right.
    """
    ranked: dict[int, list[Path]] = {}
    for path in annotation_files(root):
        rank = _rank(path, split)
        if rank is not None:
            ranked.setdefault(rank, []).append(path)
    if not ranked:
        raise DataError(f"{root}: no split {split!r}; available: {', '.join(split_files(root)) or 'none'}")
    best = ranked[min(ranked)]
    if len(best) > 1:
        names = ", ".join(path.name for path in best)
        raise DataError(f"{root}: split {split!r} may be any of {names}; name one in full, or give the file itself")
    return best[0]


def image_folders(root: Path, file: Path, *, beside: bool) -> list[Path]:
    """Folders in which ``file_name`` is looked for, the likelier first.

    Args:
        root: the dataset's folder.
        file: the annotation file.
        beside: also beside the file and in every folder of ``root``.
    """
    full = full_split_name(file)
    short = short_split_name(full)
    names = [full, short, f"{short}2017"]
    images = root / "images"
    alike = [folder for folder in _folders(images) if folder.name.startswith(short)]
    folders = [*(root / name for name in names), *(images / name for name in names), *alike, images]
    folders += [file.parent, *_folders(root)] if beside else []
    return [folder for folder in dict.fromkeys([*folders, root]) if folder.is_dir()]


def _rank(file: Path, split: str) -> int | None:
    """0 is the best; None where the file is not of this split. Letters after its name make it another: "trainval"."""
    stem = full_split_name(file) if file.name == _BESIDE_IMAGES else file.stem
    found = re.search(rf"(?:^|_){re.escape(split)}(|[^A-Za-z].*)$", stem)
    if not split or found is None:
        return None
    rest = found[1]
    closeness = 0 if not rest else 1 if re.fullmatch(r"\d{4}", rest) else 2
    return closeness if file.name.startswith(_INSTANCES) else closeness + 3


def _folders(parent: Path) -> Iterator[Path]:
    try:
        yield from sorted(path for path in parent.iterdir() if path.is_dir())
    except OSError:
        return

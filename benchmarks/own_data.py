#!/usr/bin/env python3
"""AP of one network on a VOC dataset and on the same dataset in other VOC-like forms, which must be the same.

    python benchmarks/own_data.py WEIGHTS DATA [--split test] [--limit 0]

Links images and annotations of DATA (a folder with ImageSets/Main) into temporary folders: XML beside images, in a
sister folder, in folders of splits, and under other names of folders. Prints a table, and fails where a digit differs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from spikedet.commands.evaluate import evaluate
from spikedet.config import EvaluateConfig
from spikedet.evaluation import ResultRow

Splits = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=0)
    options = parser.parse_args()
    lists = options.data / "ImageSets/Main"
    splits = {name: (lists / f"{name}.txt").read_text().split() for name in ("train", "val", "test")}
    with tempfile.TemporaryDirectory(prefix="spikedet-own-data-") as folder:
        expected = _measures(options, options.data, Path(folder) / "out")
        print("| form | images | AP50:95 | AP50 | AP75 | the same |\n| --- | ---: | ---: | ---: | ---: | --- |")
        forms: list[tuple[str, Path]] = [("as it is", options.data)]
        for write in FORMS:
            root = Path(folder) / write.__name__
            write(options.data, root, splits)
            forms.append((str(write.__doc__).rstrip("."), root))
        differing = 0
        for name, root in forms:
            row = _measures(options, root, Path(folder) / f"out-{root.name}")
            same = _numbers(row) == _numbers(expected)
            differing += not same
            print(
                f"| {name} | {row.images} | {row.AP} | {row.AP50} | {row.AP75} | {'yes' if same else 'NO'} |",
                flush=True,
            )
    if differing:
        raise SystemExit(f"{differing} forms differ")


def _measures(options: argparse.Namespace, data: Path, out: Path) -> ResultRow:
    settings = {"split": options.split, "limit": options.limit, "out": str(out)}
    (row, *_) = evaluate(EvaluateConfig(checkpoints=(options.weights,), data=str(data), **settings))
    return row


def _numbers(row: ResultRow) -> dict[str, object]:
    return {key: value for key, value in asdict(row).items() if key not in ("data", "split")}


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(source.resolve(), target)


def _put(data: Path, root: Path, name: str, images: str, annotations: str) -> None:
    _link(data / "JPEGImages" / f"{name}.jpg", root / images / f"{name}.jpg")
    _link(data / "Annotations" / f"{name}.xml", root / annotations / f"{name}.xml")


def _lists(root: Path, splits: Splits, folder: str) -> None:
    for split, names in splits.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def beside(data: Path, root: Path, splits: Splits) -> None:
    """XML beside images, split files above."""
    for name in chain(*splits.values()):
        _put(data, root, name, "photos", "photos")
    _lists(root, splits, ".")


def sisters(data: Path, root: Path, splits: Splits) -> None:
    """images and annots, split files in sets."""
    for name in chain(*splits.values()):
        _put(data, root, name, "images", "annots")
    _lists(root, splits, "sets")


def lower(data: Path, root: Path, splits: Splits) -> None:
    """VOC's folders in lower case."""
    for name in chain(*splits.values()):
        _put(data, root, name, "jpegimages", "annotations")
    _lists(root, splits, "imagesets/main")


def folders(data: Path, root: Path, splits: Splits) -> None:
    """train, valid and test with XML beside images."""
    for split, names in splits.items():
        for name in names:
            folder = "valid" if split == "val" else split
            _put(data, root, name, folder, folder)


def sister_folders(data: Path, root: Path, splits: Splits) -> None:
    """images/train and annotations/train, and so on."""
    for split, names in splits.items():
        for name in names:
            _put(data, root, name, f"images/{split}", f"annotations/{split}")


FORMS: tuple[Callable[[Path, Path, Splits], None], ...] = (beside, sisters, lower, folders, sister_folders)

if __name__ == "__main__":
    main()

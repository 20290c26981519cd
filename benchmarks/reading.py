#!/usr/bin/env python3
"""Time and memory of recognizing and reading a large dataset, beside an earlier revision of the code.

    python benchmarks/reading.py FOLDER [--images 100000] [--boxes 10] [--reference CHECKOUT]

Writes the dataset into FOLDER in several layouts (once; the images are links to a few files) and reads its split
``train`` in a process of its own, each layout ``--runs`` times. ``--reference`` is a checkout of another revision,
which reads the layouts that it knows. Prints a table of the fastest runs, in processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
WH = (640, 480)
SOURCES = 8
"""Files that the images are links to; a file system allows some ten thousand links to one."""

CHILD = """
import json, resource, sys, time
from spikedet.data import load_dataset
begun = time.process_time()
dataset = load_dataset(sys.argv[1], "train")
seconds = time.process_time() - begun
boxes = sum(len(sample.labels) for sample in dataset.samples)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "megabytes": peak, "images": len(dataset), "boxes": boxes}))
"""

Boxes = list[list[tuple[int, int, int, int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--boxes", type=int, default=10, help="per image")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--layouts", default=",".join(WRITERS))
    parser.add_argument("--reference", type=Path)
    options = parser.parse_args()
    draw = random.Random(0)
    boxes = [[_box(draw) for _ in range(options.boxes)] for _ in range(options.images)]
    print(
        "| layout | s | MB | s before | MB before | time | memory |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for name in options.layouts.split(","):
        root = options.folder / f"{name}-{options.images}-{options.boxes}"
        if not root.exists():
            WRITERS[name](root, boxes)
        now = _fastest(root, ROOT, options.runs)
        if now is None:
            raise SystemExit(f"{root}: cannot be read")
        before = _fastest(root, options.reference, options.runs) if options.reference else None
        cells = [f"{now['seconds']:.1f}", f"{now['megabytes']:.0f}"]
        if before:
            cells += [f"{before['seconds']:.1f}", f"{before['megabytes']:.0f}"]
            cells += [f"{now[key] / before[key]:.2f} x" for key in ("seconds", "megabytes")]
        print(f"| {name} | {' | '.join(cells + ['-'] * (6 - len(cells)))} |", flush=True)


def _fastest(root: Path, checkout: Path, runs: int) -> dict[str, float] | None:
    """Measures of the fastest of several runs; None where this revision does not know the layout."""
    found = []
    for _ in range(runs):
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(root)], env=environment, cwd=checkout, capture_output=True, text=True
        )
        if done.returncode:
            print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
            return None
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return min(found, key=lambda run: run["seconds"])


def _box(draw: random.Random) -> tuple[int, int, int, int]:
    x0, y0 = draw.randrange(WH[0] - 40), draw.randrange(WH[1] - 40)
    return x0, y0, x0 + draw.randint(8, 40), y0 + draw.randint(8, 40)


def _link_images(folder: Path, count: int) -> list[str]:
    sources = folder.parent / f".{folder.name}-sources"
    sources.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(1)
    for number in range(SOURCES):
        image = Image.new("RGB", WH, tuple(draw.randrange(256) for _ in range(3)))
        image.save(sources / f"{number}.jpg")
    names = [f"{number:06d}" for number in range(count)]
    for number, name in enumerate(names):
        os.link(sources / f"{number % SOURCES}.jpg", folder / f"{name}.jpg")
    return names


def _xml(name: str, boxes: list[tuple[int, int, int, int]]) -> str:
    objects = "".join(
        f"<object><name>thing{i % 3}</name><difficult>0</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for i, (x0, y0, x1, y1) in enumerate(boxes)
    )
    size = f"<size><width>{WH[0]}</width><height>{WH[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"


def _write_xml(folder: Path, names: list[str], boxes: Boxes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, own in zip(names, boxes, strict=True):
        (folder / f"{name}.xml").write_text(_xml(name, own))


def voc(root: Path, boxes: Boxes) -> None:
    names = _link_images(root / "JPEGImages", len(boxes))
    _write_xml(root / "Annotations", names, boxes)
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("\n".join(names))


def voc_beside(root: Path, boxes: Boxes) -> None:
    names = _link_images(root / "train", len(boxes))
    _write_xml(root / "train", names, boxes)
    _write_xml(root / "test", ["z"], boxes[:1])
    Image.new("RGB", WH).save(root / "test" / "z.jpg")


def _write_labels(folder: Path, names: list[str], boxes: Boxes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    width, height = WH
    for name, own in zip(names, boxes, strict=True):
        rows = (
            f"{i % 3} {(x0 + x1) / 2 / width:.6f} {(y0 + y1) / 2 / height:.6f} {(x1 - x0) / width:.6f} "
            f"{(y1 - y0) / height:.6f}\n"
            for i, (x0, y0, x1, y1) in enumerate(own)
        )
        (folder / f"{name}.txt").write_text("".join(rows))


def yolo(root: Path, boxes: Boxes) -> None:
    names = _link_images(root / "images/train", len(boxes))
    _write_labels(root / "labels/train", names, boxes)
    (root / "data.yaml").write_text("train: images/train\nnames: [thing0, thing1, thing2]\n")


def yolo_classes(root: Path, boxes: Boxes) -> None:
    names = _link_images(root / "images/train", len(boxes))
    _write_labels(root / "labels/train", names, boxes)
    _write_labels(root / "labels/test", ["z"], boxes[:1])
    (root / "images/test").mkdir()
    Image.new("RGB", WH).save(root / "images/test/z.jpg")
    (root / "classes.txt").write_text("thing0\nthing1\nthing2\n")


def _write_coco(path: Path, names: list[str], boxes: Boxes) -> None:
    images = [{"id": n, "file_name": f"{name}.jpg", "width": WH[0], "height": WH[1]} for n, name in enumerate(names)]
    annotations = [
        {"id": n * 1000 + i, "image_id": n, "category_id": i % 3, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
        for n, own in enumerate(boxes)
        for i, (x0, y0, x1, y1) in enumerate(own)
    ]
    categories = [{"id": i, "name": f"thing{i}"} for i in range(3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def coco(root: Path, boxes: Boxes) -> None:
    names = _link_images(root / "train2017", len(boxes))
    _write_coco(root / "annotations/instances_train2017.json", names, boxes)


def coco_above(root: Path, boxes: Boxes) -> None:
    names = _link_images(root / "photos/train", len(boxes))
    _write_coco(root / "train.json", names, boxes)
    Image.new("RGB", WH).save(root / "photos/z.jpg")
    _write_coco(root / "test.json", ["z"], boxes[:1])


WRITERS: dict[str, Callable[[Path, Boxes], None]] = {
    function.__name__: function for function in (voc, yolo, coco, voc_beside, yolo_classes, coco_above)
}

if __name__ == "__main__":
    main()

"""Layouts with something renamed, moved, copied, cut or added: read rightly or refused, never as something else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign_layouts import LAYOUTS, Annotated, annotated

from spikedet.common.errors import ConfigError, DataError
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic

pytestmark = pytest.mark.slow

NAMES = ("circle", "cross", "square", "triangle")
TREES = 4
"""Of each layout; 24 layouts make 96 trees."""


def remove(path: Path, root: Path, draw: random.Random) -> None:
    path.unlink()


def rename(path: Path, root: Path, draw: random.Random) -> None:
    path.rename(path.with_stem(f"{path.stem}x"))


def upper(path: Path, root: Path, draw: random.Random) -> None:
    path.rename(path.with_name(path.name.upper()))


def move_up(path: Path, root: Path, draw: random.Random) -> None:
    if not (root / path.name).exists():
        path.rename(root / path.name)


def copy_to_backup(path: Path, root: Path, draw: random.Random) -> None:
    (root / "backup").mkdir(exist_ok=True)
    (root / "backup" / path.name).write_bytes(path.read_bytes())


def copy_to_hidden(path: Path, root: Path, draw: random.Random) -> None:
    (root / ".cache").mkdir(exist_ok=True)
    (root / ".cache" / path.name).write_bytes(path.read_bytes())


def cut(path: Path, root: Path, draw: random.Random) -> None:
    if path.suffix in (".jpg", ".xml", ".json"):  # half a number is a number too
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rename_folder(path: Path, root: Path, draw: random.Random) -> None:
    folders = sorted(found for found in root.rglob("*") if found.is_dir())
    if folders:
        folder = draw.choice(folders)
        folder.rename(folder.with_name(f"{folder.name}_{draw.choice(['old', 'train', 'x'])}"))


def add_another_layout(path: Path, root: Path, draw: random.Random) -> None:
    if (root / f"{path.stem}.xml").exists():
        return
    (root / f"{path.stem}.xml").write_text(
        "<annotation><object><name>cross</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )


def add_split_file(path: Path, root: Path, draw: random.Random) -> None:
    (root / "test.txt").write_text(f"{path.stem}\n")


MUTATIONS: tuple[Callable[[Path, Path, random.Random], None], ...] = (
    *(remove, rename, upper, move_up, copy_to_backup, copy_to_hidden, cut, rename_folder),
    *(add_another_layout, add_split_file),
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Annotated]:
    root = tmp_path_factory.mktemp("synthetic") / "set"
    return annotated(write_synthetic(root, SyntheticConfig(train=6, val=3, test=3, image_hw=(64, 64))))


def mutated(root: Path, name: str, images: list[Annotated], draw: random.Random) -> list[str]:
    """Write a layout without links, so that a change of a file changes no other; returns what was done to it."""
    LAYOUTS[name].write(root, images)
    for path in [found for found in root.rglob("*") if found.is_file()]:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    done = []
    for mutation in draw.sample(MUTATIONS, draw.randint(1, 3)):
        paths = sorted(found for found in root.rglob("*") if found.is_file())
        mutation(draw.choice(paths), root, draw)
        done.append(mutation.__name__)
    return done


def wrong(
    dataset: DetectionDataset, split: str, truth: dict[bytes, Annotated], name: str, done: list[str]
) -> list[str]:
    """What is read otherwise than it was written; XML that was put beside an image is its annotation."""
    found = []
    for sample in dataset.samples:
        image = truth.get(sample.image_path.read_bytes())
        if image is None:  # a cut image, whose header is whole
            continue
        got = sorted(zip(sample.labels.tolist(), sample.boxes_xyxy.round().tolist(), strict=True))
        wanted = sorted((NAMES.index(label), list(box)) for label, box in image.objects)
        lost_label = LAYOUTS[name].kind == "yolo" and not got  # an image without a label file has no objects
        if got != wanted and not lost_label and not ("add_another_layout" in done and len(done) > 1):
            found.append(f"{sample.image_id}: {got}, not {wanted}")
        own = LAYOUTS[name].split and dataset.division is None and not {"add_split_file", "rename_folder"} & set(done)
        if own and split != image.split:
            found.append(f"{sample.image_id}: in {split}, not {image.split}")
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_mutated_trees(tmp_path: Path, images: list[Annotated], name: str) -> None:
    truth = {image.file.read_bytes(): image for image in images}
    for number in range(TREES):
        draw = random.Random(f"{name} {number}")
        done = mutated(tmp_path / str(number), name, images, draw)
        seen: set[str] = set()
        for split in ("train", "val", "test"):
            try:
                dataset = load_dataset(tmp_path / str(number), split, NAMES)
            except (DataError, ConfigError):
                continue
            assert wrong(dataset, split, truth, name, done) == [], (number, done)
            ids = {sample.image_id for sample in dataset.samples}
            assert not ids & seen or "add_split_file" in done
            seen |= ids

"""A tiny VOC writer, a reader and a folder fingerprint for the data tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from spikedet.data import DetectionDataset
from spikedet.data.reading import load_split
from spikedet.data.voc.layout import VocLayout


def object_xml(name: str, corners: Sequence[object], difficult: object | None = 0) -> str:
    """One ``<object>``; ``corners`` are VOC's xmin, ymin, xmax, ymax as they shall stand in the file."""
    fields = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{field}>{value}</{field}>" for field, value in fields)
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{box}</bndbox></object>"


def annotation_xml(*objects: str) -> str:
    return f"<annotation><filename>elsewhere.jpg</filename>{''.join(objects)}</annotation>"


def write_year(
    folder: Path,
    annotations: Mapping[str, str],
    splits: Mapping[str, str] | None = None,
    image_wh: tuple[int, int] = (40, 30),
) -> Path:
    """A year folder with one image per annotation; ``splits`` maps names to file texts (default: train, all)."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for stem, text in annotations.items():
        (folder / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8")
        Image.new("RGB", image_wh, (90, 120, 30)).save(folder / "JPEGImages" / f"{stem}.jpg")
    for name, text in (splits or {"train": "\n".join(annotations)}).items():
        (folder / "ImageSets/Main" / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def load_voc(root: Path, split: str, class_names: Sequence[str] | None = None, **how: Any) -> DetectionDataset:
    """A split of a year folder or of a devkit."""
    return load_split(VocLayout(root), split, class_names, **how)


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of everything under a folder, itself included."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

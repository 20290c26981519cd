"""COCO annotation files: categories, images and boxes, checked one by one before anything is made of them.

``bbox`` is x, y, width, height in pixels from the image's upper left corner; ``iscrowd`` objects are crowds. Where
our own key ``difficult`` stands beside it, the object is a difficult one as in VOC, for which COCO has no other word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikedet.common.errors import DataError
from spikedet.common.files import MAX_LIST_BYTES
from spikedet.data.boxes import refuse_fractions
from spikedet.data.class_names import checked_class_names
from spikedet.data.coco.segmentation import segmentation_box
from spikedet.data.layout import Box, WrittenObject
from spikedet.data.text import read_json
from spikedet.data.values import is_number, plain_number, shown, written_hw

DIFFICULT = "difficult"
_LISTS = ("images", "annotations", "categories")


@dataclass
class CocoImage:
    """One entry of ``images`` with its annotations.

    Attributes:
        file_name: as written, not checked; "" where it is missing.
        objects: in the order of the file.
        problem: the first reason why it cannot be used, or "".
        image_hw: ``height`` and ``width`` in pixels; None where they are not written.
    """

    file_name: str
    objects: list[WrittenObject] = field(default_factory=list)
    problem: str = ""
    image_hw: tuple[int, int] | None = None


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file has.

    Attributes:
        class_names: by ascending category id.
        images: in the order of the file.
        stray: what is wrong with entries that belong to no image.
        repeated: a sentence for each id that several annotations have; all of them are kept.
    """

    class_names: tuple[str, ...]
    images: tuple[CocoImage, ...]
    stray: tuple[str, ...]
    repeated: tuple[str, ...] = ()


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file; images are not looked for.

    Raises:
        DataError: it is missing, not JSON, lacks one of its three lists, or its categories are not whole.
    """
    content = _lists(path)
    names = _categories(path, content["categories"])
    images, stray = _images(path, content["images"])
    stray += _add_annotations_(path, content["annotations"], images, names)
    repeated = _repeated_ids(path, content["annotations"])
    return CocoFile(tuple(names.values()), tuple(images.values()), tuple(stray), tuple(repeated))


def refuse_shared_(file: Path, found: Sequence[tuple[CocoImage, Hashable]]) -> None:
    """Entries of one image have the problem that each lacks the objects of the others."""
    times = Counter(path for _, path in found)
    for image, path in found:
        if times[path] > 1 and not image.problem:
            name = shown(image.file_name)
            image.problem = f"{file}: {times[path]} images are of the image {name}; put them together"


def coco_edges(numbers: Box, image_hw: tuple[int, int]) -> Box:
    """x, y, width, height to pixel edges x0, y0, x1, y1."""
    x, y, width, height = numbers
    return x, y, x + width, y + height


def coco_box(edges: Sequence[float]) -> dict[str, Any]:
    """Pixel edges x0, y0, x1, y1 as ``bbox`` and ``area``, to be written."""
    x, y = plain_number(edges[0]), plain_number(edges[1])
    width, height = plain_number(edges[2] - edges[0]), plain_number(edges[3] - edges[1])
    return {"bbox": [x, y, width, height], "area": plain_number(width * height)}


def coco_flags(difficult: bool, crowd: bool) -> dict[str, int]:
    """``iscrowd``, by which other tools leave an object out, and where it is no crowd ``difficult``, to be written."""
    return {"iscrowd": int(difficult)} | ({DIFFICULT: 1} if difficult and not crowd else {})


def category_id(label: int) -> int:
    """The id that a class is written with; they begin at 1, as COCO's own do."""
    return label + 1


def coco_categories(class_names: Sequence[str]) -> list[dict[str, Any]]:
    """``categories`` of these classes, to be written."""
    return [{"id": category_id(label), "name": name} for label, name in enumerate(class_names)]


def _lists(path: Path) -> dict[str, list[Any]]:
    content = read_json(path, "annotations", MAX_LIST_BYTES)
    lists = content if isinstance(content, dict) else {}
    missing = [name for name in _LISTS if not isinstance(lists.get(name), list)]
    if missing:
        raise DataError(f"{path}: no list {missing[0]!r}; expected COCO JSON with {', '.join(_LISTS)}")
    return lists


def _categories(path: Path, written: list[Any]) -> dict[int, str]:
    """Class names by ascending category id."""
    names: dict[int, object] = {}
    for number, item in enumerate(written, start=1):
        where = f"{path}: category number {number}"
        identity = _field(where, item, "id")
        if isinstance(identity, bool) or not isinstance(identity, int):
            raise DataError(f"{where} has the id {shown(identity)}; expected a whole number")
        if identity in names:
            raise DataError(f"{path}: category {shown(identity)} is there twice; give each its own id")
        names[identity] = _field(f"{path}: category {shown(identity)}", item, "name")
    ordered = sorted(names)
    return dict(zip(ordered, checked_class_names(f"{path}: categories", (names[i] for i in ordered)), strict=True))


def _images(path: Path, written: list[Any]) -> tuple[dict[int | str, CocoImage], list[str]]:
    images: dict[int | str, CocoImage] = {}
    stray = []
    for number, item in enumerate(written, start=1):
        try:
            identity = _identity(f"{path}: image number {number}", item, "id")
        except DataError as error:
            stray.append(str(error))
            continue
        where = f"{path}: image {shown(identity)}"
        if identity in images:
            images[identity].problem = f"{where} is there twice; give each image its own id"
            continue
        images[identity] = CocoImage("", image_hw=written_hw(item.get("height"), item.get("width")))
        name = item.get("file_name")
        if isinstance(name, str) and name.strip():
            images[identity].file_name = name
        else:
            images[identity].problem = f"{where} has no 'file_name'; add the name of its image"
    return images, stray


def _add_annotations_(
    path: Path, written: list[Any], images: Mapping[int | str, CocoImage], names: Mapping[int, str]
) -> list[str]:
    """Put every annotation to its image; a broken one spoils the image. Returns those that have none."""
    stray = []
    for number, item in enumerate(written, start=1):
        try:
            identity = _identity(f"{path}: annotation number {number}", item, "id")
            where = f"{path}: annotation {shown(identity)}"
            owner = _identity(where, item, "image_id")
            if owner not in images:
                raise DataError(f"{where} belongs to image {shown(owner)}, which is not among the images")
        except DataError as error:
            stray.append(str(error))
            continue
        image = images[owner]
        try:
            image.objects.append(_object(where, f"annotation {shown(identity)}", item, names))
        except DataError as error:
            image.problem = image.problem or str(error)
    return stray


def _repeated_ids(path: Path, written: list[Any]) -> Iterator[str]:
    ids = [item.get("id") for item in written if isinstance(item, dict)]
    for identity, times in Counter(value for value in ids if isinstance(value, int | str)).items():
        if times > 1:
            yield f"{path}: {times} annotations have the id {shown(identity)}; give each its own"


def _object(where: str, place: str, item: Mapping[str, Any], names: Mapping[int, str]) -> WrittenObject:
    category = _identity(where, item, "category_id")
    if category not in names:
        raise DataError(f"{where} has the category {shown(category)}, which is not among the categories")
    box = item.get("bbox") or segmentation_box(where, item.get("segmentation"))
    if box is None:
        raise DataError(f"{where} has no 'bbox'; add it")
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where} has the bbox {shown(box)}; expected a list of x, y, width and height")
    left_out = item.get("iscrowd", 0)
    if not isinstance(left_out, int) or left_out not in (0, 1):
        raise DataError(f"{where} has iscrowd {shown(left_out)}; expected 0 or 1")
    for value in box:
        if not is_number(value):
            raise DataError(f"{where} has {shown(value)} in its bbox; expected finite numbers")
    x, y, width, height = map(float, box)
    refuse_fractions(where, (x, y, x + width, y + height))
    crowd = bool(left_out) and item.get(DIFFICULT) != 1
    return WrittenObject(place, names[int(category)], (x, y, width, height), bool(left_out), crowd)


def _field(where: str, item: object, key: str) -> Any:
    if not isinstance(item, dict):
        raise DataError(f"{where} is {shown(item)}; expected an object with {key!r}")
    if key not in item:
        raise DataError(f"{where} has no {key!r}; add it")
    return item[key]


def _identity(where: str, item: object, key: str) -> int | str:
    value = _field(where, item, key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{where} has {key} {shown(value)}; expected a whole number or a text")
    return value

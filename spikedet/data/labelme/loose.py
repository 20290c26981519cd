"""LabelMe: a JSON file for each image, its ``shapes`` reduced to the boxes around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.boxes import refuse_fractions
from spikedet.data.layout import AnnotatedImage, Box, WrittenObject, pixel_edges
from spikedet.data.loose import Found, paired
from spikedet.data.pairs import pair
from spikedet.data.text import read_ends, read_json
from spikedet.data.values import is_number, shown, written_hw
from spikedet.data.walk import Tree

MAX_JSON_BYTES = 200_000_000
_LOOKED_AT = 20


def find_labelme(tree: Tree, images: Sequence[str]) -> Found | str:
    """The images with a LabelMe file, or what is missing ("" where there is none)."""
    files = sorted(tree.files([".json"]))
    if not any(is_labelme(read_ends(tree.root / path)) for path in islice(files, _LOOKED_AT)):
        return ""
    pairs, _ = pair(images, files)
    own = {found.annotation for found in pairs if found.annotation}
    taken = [path for path in files if path in own or is_labelme(read_ends(tree.root / path))]
    items, notes, place = paired(tree, images, taken, read_labelme, what="a LabelMe file")
    if not items:
        return f"{len(taken)} LabelMe files, and none has the name of an image; {taken[0]} needs an image of its name"
    return Found("labelme", f"LabelMe JSON {place}", items, pixel_edges, None, notes)


def is_labelme(ends: bytes) -> bool:
    """Whether the start and end of a file are of LabelMe's JSON."""
    return b'"shapes"' in ends and (b'"imagePath"' in ends or b'"imageWidth"' in ends or b'"points"' in ends)


def read_labelme(path: Path) -> AnnotatedImage:
    """The shapes of a file as boxes, their numbers x0, y0, x1, y1 in pixels.

    Raises:
        DataError: the file cannot be read, or a shape is not whole.
    """
    content = read_json(path, "LabelMe JSON", MAX_JSON_BYTES)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise DataError(f"{path}: no list 'shapes'; expected LabelMe JSON")
    objects = [_object(path, number, shape) for number, shape in enumerate(shapes, start=1)]
    return AnnotatedImage(objects, written_hw(content.get("imageHeight"), content.get("imageWidth")))


def _object(path: Path, number: int, shape: object) -> WrittenObject:
    where = f"{path}: shape {number}"
    if not isinstance(shape, Mapping):
        raise DataError(f"{where} is {shown(shape)}; expected an object with 'label' and 'points'")
    name = shape.get("label")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where} has the label {shown(name)}; expected its class")
    kind, points = shape.get("shape_type", "polygon"), shape.get("points")
    pairs = points if isinstance(points, list) else []
    if not pairs or not all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in pairs):
        raise DataError(f"{where} has the points {shown(points)}; expected pairs of finite numbers")
    if kind in ("point", "line", "linestrip") or len(pairs) < 2:
        raise DataError(f"{where} is a {shown(kind)} and has no area; expected a rectangle, a polygon or a circle")
    box = _circle(pairs) if kind == "circle" else _around(pairs)
    refuse_fractions(where, box)
    return WrittenObject(f"shape {number}", name.strip(), box)


def _around(points: Sequence[Sequence[float]]) -> Box:
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def _circle(points: Sequence[Sequence[float]]) -> Box:
    (x, y), edge = points[0], points[1]
    radius = math.dist((x, y), edge)
    return x - radius, y - radius, x + radius, y + radius

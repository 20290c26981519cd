"""YOLO labels without a ``data.yaml``: beside the images or in a sister folder, class names in a list of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from spikedet.common.errors import DataError
from spikedet.common.yaml import read_mapping
from spikedet.data.class_names import checked_class_names
from spikedet.data.loose import Found, paired
from spikedet.data.pairs import pair
from spikedet.data.text import read_lines, read_start
from spikedet.data.values import as_config_error
from spikedet.data.walk import Tree
from spikedet.data.yolo.labels import read_labels, yolo_edges
from spikedet.data.yolo.yaml import CLASS_LISTS, YAML_NAMES, class_names_of

MAX_NAMES_BYTES = 1_000_000
_LOOKED_AT = 20
_LINE = re.compile(rb"\s*\d+(\s+-?[\d.]+(e-?\d+)?){4,}\s*(\r?\n|\r|$)", re.IGNORECASE)


def find_yolo(tree: Tree, images: Sequence[str], class_names: Sequence[str] | None = None) -> Found | str:
    """The images with label files, or what is missing ("" where there are no labels).

    Args:
        tree: the dataset's files.
        images: relative paths of the images.
        class_names: the classes in the order of their indices, for a dataset without a list of its own.

    Raises:
        DataError, ConfigError: two lists of class names differ, or one is not whole.
    """
    texts = sorted(path for path in tree.files([".txt"]) if _name(path) not in CLASS_LISTS)
    pairs, _ = pair(images, texts)
    labels = [found.annotation for found in pairs if found.annotation]
    if not any(_is_label(tree, path) for path in islice(labels, _LOOKED_AT)):
        return f"{len(texts)} text files, and none is a YOLO label file of an image's name" if texts else ""
    lists = class_lists(tree) or ({"the YAML file": tuple(class_names)} if class_names else {})
    if not lists:
        return (
            f"{labels[0]} is a YOLO label file, but class names are missing; add classes.txt, a name in each line, "
            "or name them under 'names' in a YAML file with 'data'"
        )
    first = next(iter(lists))
    for path, names in lists.items():
        if names != lists[first]:
            raise DataError(f"{tree.root}: the class names of {first} and {path} differ; keep the right one of the two")
    read = partial(read_labels, class_names=lists[first])
    own = set(labels)
    texts = [path for path in texts if path in own or _is_label(tree, path)]
    items, notes, place = paired(tree, images, texts, read, what="a label file", background=True)
    return Found("yolo", f"YOLO labels {place}, class names in {first}", items, yolo_edges, lists[first], notes)


def class_lists(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Class names by the file that has them.

    Raises:
        DataError, ConfigError: a list cannot be read.
    """
    found = {}
    for path in sorted(tree.files([*CLASS_LISTS, ".names"])):
        if _name(path) in CLASS_LISTS or path.lower().endswith(".names"):
            lines = [line.strip() for line in read_lines(tree.root / path, "class names", MAX_NAMES_BYTES)]
            found[path] = checked_class_names(str(tree.root / path), filter(None, lines))
    for path in sorted(tree.files(YAML_NAMES)):
        if _name(path) in YAML_NAMES:
            content: Mapping[str, Any] = read_mapping(tree.root / path, "'names'")
            if "names" in content:
                with as_config_error():
                    found[path] = class_names_of(tree.root / path, content["names"])
    return found


def _is_label(tree: Tree, path: str) -> bool:
    return bool(_LINE.match(read_start(tree.root / path)))


def _name(path: str) -> str:
    return path.rpartition("/")[2].lower()

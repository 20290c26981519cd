"""Which layout a folder has, by what is there; one reading or an error that says what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from spikedet.common.counts import counted
from spikedet.common.errors import ConfigError, DataError, SpikedetError
from spikedet.common.yaml import read_mapping
from spikedet.config import SourceLayout
from spikedet.data.coco.files import annotation_files, has_usual_name
from spikedet.data.coco.layout import CocoLayout
from spikedet.data.coco.loose import find_coco, is_coco
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.labelme.loose import find_labelme
from spikedet.data.layout import Layout
from spikedet.data.lookup import Lookup
from spikedet.data.loose import Found, loose_layout
from spikedet.data.table.loose import find_table
from spikedet.data.text import read_ends
from spikedet.data.voc.layout import VocLayout
from spikedet.data.voc.loose import find_voc
from spikedet.data.voc.splits import is_voc, split_names
from spikedet.data.walk import Tree, say_skipped, walk
from spikedet.data.yolo.layout import YoloLayout
from spikedet.data.yolo.loose import find_yolo
from spikedet.data.yolo.yaml import YAML_NAMES, has_splits, is_yolo, parse_yolo

Finder = Callable[[Tree, Sequence[str]], "Layout | Found | str"]
YAML_HELP = "the key 'data' and optionally 'names', or a YOLO dataset's with 'train', 'val' and 'names'"


def recognize(folder: Path, layout: str = "", class_names: Sequence[str] | None = None) -> Layout:
    """The dataset of a folder.

    Args:
        folder: the folder.
        layout: the only layout that is tried; "" tries all.
        class_names: those that the user sets, in label order, for YOLO labels without a list of class names.

    Raises:
        DataError: nothing fits, or more than one layout does.
    """
    tree = walk(folder)
    say_skipped(tree, IMAGE_SUFFIXES)
    images = sorted(tree.files(IMAGE_SUFFIXES))
    found: dict[str, Layout | Found | SpikedetError] = {}
    missing = []
    finders: dict[SourceLayout, Finder]
    finders = {"voc": _voc, "yolo": partial(_yolo, class_names=class_names), "coco": _coco}
    finders |= {"labelme": find_labelme, "csv": find_table}
    for kind, find in finders.items():
        if layout in ("", kind):
            try:
                result = find(tree, images)
            except (ConfigError, DataError) as error:  # of this layout, but not whole; another reading may be
                found[kind] = error
                continue
            if isinstance(result, str):
                missing.append(result)
            else:
                found[kind] = result
    if len(found) > 1:
        readings = " or ".join(
            f"{kind} ({item if isinstance(item, SpikedetError) else item.seen})" for kind, item in found.items()
        )
        raise DataError(
            f"{folder}: may be read as {readings}; choose with --layout {' or --layout '.join(found)}, "
            "or with 'layout' in a YAML file that names the folder"
        )
    if not found:
        raise DataError(_nothing(tree, images, layout, [text for text in missing if text]))
    (only,) = found.values()
    if isinstance(only, SpikedetError):
        raise only
    return loose_layout(tree, images, only) if isinstance(only, Found) else only


def _nothing(tree: Tree, images: Sequence[str], layout: str, missing: Sequence[str]) -> str:
    """Why nothing fits: what there is, and what the nearest layout lacks."""
    wanted = f"a {layout} dataset" if layout else "a dataset of a layout we know"
    if not images:
        lack = f"no image; expected {', '.join(IMAGE_SUFFIXES)}"
    else:
        lack = "; ".join(missing) or (
            f"annotations of the {counted(len(images), 'image')}: an XML, TXT or JSON file of each image's name, "
            "COCO JSON, or a CSV table"
        )
    return f"{tree.root}: not {wanted}. Found: {tree.summary()}. Missing: {lack}"


def _voc(tree: Tree, images: Sequence[str]) -> Layout | Found | str:
    if is_voc(tree.root) and split_names(tree.root):
        return VocLayout(tree.root)
    return find_voc(tree, images)


def _yolo(tree: Tree, images: Sequence[str], class_names: Sequence[str] | None) -> Layout | Found | str:
    for file in (tree.root / name for name in YAML_NAMES):
        if file.is_file() and is_yolo(content := read_mapping(file, YAML_HELP)) and has_splits(content):
            return YoloLayout(parse_yolo(file, content))
    return find_yolo(tree, images, class_names)


def _coco(tree: Tree, images: Sequence[str]) -> Layout | Found | str:
    if any(has_usual_name(file) or is_coco(read_ends(file)) for file in annotation_files(tree.root)):
        return CocoLayout(tree.root, lookup=Lookup(images))
    return find_coco(tree, images)

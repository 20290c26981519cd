"""VOC XML wherever it lies: beside its images, in a sister folder, in folders of splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from spikedet.data.loose import Found, paired
from spikedet.data.text import read_start
from spikedet.data.voc.annotation import read_annotation
from spikedet.data.voc.layout import voc_edges
from spikedet.data.walk import Tree

_LOOKED_AT = 20
_ROOT = re.compile(rb"<([A-Za-z][\w.-]*)[\s/>]")


def find_voc(tree: Tree, images: Sequence[str]) -> Found | str:
    """The images that have an XML file of their name, or what is missing ("" where there is no XML at all).

    Raises:
        DataError: a folder's path names two splits.
    """
    files = sorted(tree.files([".xml"]))
    if not files:
        return ""
    roots = {_root(tree, path) for path in islice(files, _LOOKED_AT)}
    if "annotations" in roots and "annotation" not in roots:
        return f"{files[0]} is CVAT's own XML; export the task as PASCAL VOC, YOLO or COCO"
    if "annotation" not in roots:
        return f"{files[0]} is not a VOC annotation"
    items, notes, place = paired(tree, images, files, read_annotation, what="an XML file")
    if not items:
        return f"{len(files)} XML files, and none has the name of an image; {files[0]} needs an image of its name"
    return Found("voc", f"VOC XML {place}", items, voc_edges, None, notes)


def _root(tree: Tree, path: str) -> str:
    """The name of the root element, "" where none is found near the start."""
    found = _ROOT.search(read_start(tree.root / path).replace(b"\0", b""))
    return found[1].decode() if found else ""

"""PASCAL VOC layout: year folders with ``Annotations``, ``JPEGImages`` and ``ImageSets/Main``.

VOC corners are 1-based and inclusive; ours are continuous pixel edges:
``(xmin - 1, ymin - 1, xmax, ymax)``, clipped to the picture.
"""

from __future__ import annotations

import logging
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikedet.data.dataset import BoxIssues, DetectionDataset, Sample
from spikedet.data.images import image_hw
from spikedet.errors import DataError

VOC_CLASS_NAMES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes of PASCAL VOC in their official order."""

LAYOUT_HELP = (
    "expected a folder with Annotations/, JPEGImages/ and ImageSets/Main/, or a VOCdevkit folder of such folders"
)
MAX_ANNOTATION_BYTES = 10_000_000
MAX_EXAMPLES = 5

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_YEAR_PARTS = ("Annotations", "JPEGImages", "ImageSets/Main")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DIFFICULT = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}
_XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_KNOWN_ENCODING = re.compile(
    r"utf-?8(-sig)?|utf-?16|(us-)?ascii|iso-8859-\d{1,2}|latin-?1|(windows-|cp)125\d|gb(k|2312|18030)|big5|shift_jis|euc-(jp|kr)"
)


@dataclass(frozen=True)
class _Entry:
    """One image of a split: where its picture and annotation lie."""

    image_id: str
    picture: Path
    annotation: Path


@dataclass(frozen=True)
class _Object:
    """One annotated object as written: ``corners`` are VOC's xmin, ymin, xmax, ymax (1-based, inclusive)."""

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


def load_voc(
    root: Path, split: str, class_names: Sequence[str] | None = None, strict: bool = False
) -> DetectionDataset:
    """Read a split of a VOC folder; pictures are not decoded, only their headers are read.

    Args:
        root: a year folder, or a devkit folder whose sub-folders are year folders.
        split: ``+``-joined parts, each ``train`` (every year that has it) or ``VOC2007/train`` (one year).
            An image named by several parts is taken once.
        class_names: the classes in label order; None takes those of ``discover_class_names``.
        strict: raise at the first box without area or partly outside its picture, instead of repairing and counting.

    Raises:
        DataError: the folder, split, an annotation or a picture is missing or invalid, or a class is unknown.
    """
    root = Path(root)
    entries = _split_entries(root, split)
    objects = [_read_annotation(entry.annotation) for entry in entries]
    known = _default_class_names(root, split, objects) if class_names is None else _checked_names(root, class_names)
    label_of = {name: label for label, name in enumerate(known)}
    tally = _IssueTally(strict)
    samples = tuple(_sample(entry, found, label_of, tally) for entry, found in zip(entries, objects, strict=True))
    issues = tally.issues()
    if issues.examples:
        logging.getLogger("spikedet").warning(
            "%s, split %s: %d boxes without area dropped, %d boxes clipped to their picture; first: %s",
            root,
            split,
            issues.dropped,
            issues.clipped,
            issues.examples[0],
        )
    return DetectionDataset(_folder_name(root), split, known, samples, issues)


def discover_class_names(root: Path, split: str) -> tuple[str, ...]:
    """The class names that a split's annotations use, sorted.

    Folders named VOCyyyy that use no other than the 20 VOC classes get all of ``VOC_CLASS_NAMES``.

    Raises:
        DataError: as ``load_voc``, or when the split has no object at all.
    """
    root = Path(root)
    return _default_class_names(
        root, split, [_read_annotation(entry.annotation) for entry in _split_entries(root, split)]
    )


# --- splits: which images -------------------------------------------------------------------------------------------


def _split_entries(root: Path, split: str) -> list[_Entry]:
    """Every image of the split, once, in the order of the split files."""
    entries: dict[str, _Entry] = {}
    for year, split_file in _split_files(root, split):
        pictures = _files_by_stem(year / "JPEGImages", _PICTURE_SUFFIXES)
        annotations = _files_by_stem(year / "Annotations", (".xml",))
        for name in _read_ids(split_file):
            image_id = f"{_folder_name(year)}/{name}"
            annotation = _find(annotations, name, year / "Annotations" / f"{name}.xml", "annotation", split_file)
            picture = _find(pictures, name, year / "JPEGImages" / f"{name}.jpg", "picture", split_file)
            entries.setdefault(image_id, _Entry(image_id, picture, annotation))
    return list(entries.values())


def _split_files(root: Path, split: str) -> list[tuple[Path, Path]]:
    """``(year folder, split file)`` for each part of the split and each year that has it."""
    available = {year: _files_by_stem(year / "ImageSets/Main", (".txt",)) for year in _year_folders(root)}
    chosen = []
    for part in split.split("+"):
        year_name, _, name = part.strip().rpartition("/")
        found = [
            (year, files[name])
            for year, files in available.items()
            if name in files and year_name in ("", _folder_name(year))
        ]
        if not found:
            listing = ", ".join(_split_names(available)) or "none"
            raise DataError(f"{root}: no split {part.strip()!r}; available: {listing}")
        chosen += found
    return chosen


def _split_names(available: dict[Path, dict[str, Path]]) -> list[str]:
    """Splits a user may name; the per-class lists of the devkit (``cat_train``) are left out."""
    per_class = tuple(f"{name}_" for name in VOC_CLASS_NAMES)
    names = {
        f"{_folder_name(year)}/{path.stem}" if len(available) > 1 else path.stem
        for year, files in available.items()
        for path in files.values()
    }
    return sorted(name for name in names if not name.rpartition("/")[2].startswith(per_class))


def _year_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {LAYOUT_HELP}")
    if _is_year_folder(root):
        return [root]
    years = sorted(folder for folder in _listing(root) if _is_year_folder(folder))
    if not years:
        raise DataError(f"{root}: not a VOC dataset; {LAYOUT_HELP}")
    return years


def _is_year_folder(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in _YEAR_PARTS)


def _folder_name(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name


def _read_ids(split_file: Path) -> Iterator[str]:
    """The first field of every line: a plain file stem. A flag column (``000005  1``) is ignored."""
    try:
        lines = split_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{split_file}: the split file cannot be read ({error}); expected one id per line") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(f"{split_file}: the split is empty; expected one image id per line")
    for name in names:
        if ".." in name or "/" in name or "\\" in name:
            raise DataError(f"{split_file}: id {name!r} is a path; expected a file name without folder or suffix")
        yield name


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Files by their stem as written and, where no other file has that very stem, in lower case."""
    files = [path for path in _listing(folder) if path.suffix.lower() in suffixes]
    files.sort(key=lambda path: (suffixes.index(path.suffix.lower()), path.name))
    exact = {path.stem: path for path in reversed(files)}
    return {path.stem.lower(): path for path in reversed(files)} | exact


def _listing(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be read ({error.strerror}); check its permissions") from error


def _find(files: dict[str, Path], name: str, expected: Path, kind: str, split_file: Path) -> Path:
    path = files.get(name) or files.get(name.lower())
    if path is None:
        raise DataError(f"{expected}: {kind} not found; add it, or remove {name!r} from {split_file}")
    return path


# --- annotations: which objects -------------------------------------------------------------------------------------


def _read_annotation(path: Path) -> list[_Object]:
    try:
        root = ET.fromstring(_safe_xml_text(path))
    except (ET.ParseError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not well-formed XML ({error}); repair or remove the annotation") from error
    if root.tag != "annotation":
        raise DataError(f"{path}: the root element is <{root.tag}>, expected <annotation>")
    return [_read_object(path, number, element) for number, element in enumerate(root.findall("object"), start=1)]


def _safe_xml_text(path: Path) -> str:
    """The document as text, so that what is searched for declarations is what is parsed."""
    try:
        if path.stat().st_size > MAX_ANNOTATION_BYTES:
            raise DataError(f"{path}: larger than {MAX_ANNOTATION_BYTES} bytes; not a VOC annotation")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the annotation cannot be read ({error.strerror})") from error
    declared = _XML_ENCODING.match(data)
    encoding = declared.group(1).decode().lower() if declared else "utf-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    if not _KNOWN_ENCODING.fullmatch(encoding):
        raise DataError(f"{path}: encoding {encoding!r} is not supported; save the annotation as UTF-8")
    try:
        text = data.decode(encoding)
    except (LookupError, UnicodeError) as error:
        raise DataError(f"{path}: not {encoding} text ({error}); save the annotation as UTF-8") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: DOCTYPE and ENTITY declarations are refused; remove them")
    return text


def _read_object(path: Path, number: int, element: ET.Element) -> _Object:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}: object {number} has no <name>; add its class")
    where = f"{path}: object {number} ({name})"
    box = element.find("bndbox")
    if box is None:
        raise DataError(f"{where} has no <bndbox>; add one with {', '.join(_CORNERS)}")
    difficult = (element.findtext("difficult") or "").strip().lower()
    if difficult not in _DIFFICULT:
        raise DataError(f"{where} has <difficult>{difficult[:40]}</difficult>; expected 0 or 1")
    xmin, ymin, xmax, ymax = (_read_number(where, box, field) for field in _CORNERS)
    return _Object(name, (xmin, ymin, xmax, ymax), _DIFFICULT[difficult])


def _read_number(where: str, box: ET.Element, field: str) -> float:
    text = box.findtext(field)
    if text is None:
        raise DataError(f"{where} has no <{field}> in its <bndbox>; add it")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where} has <{field}>{text.strip()[:40]}</{field}>; expected a finite number")
    return value


# --- classes and boxes ----------------------------------------------------------------------------------------------


def _default_class_names(root: Path, split: str, annotations: Iterable[Sequence[_Object]]) -> tuple[str, ...]:
    names = {item.name for objects in annotations for item in objects}
    official = all(re.fullmatch(r"VOC\d{4}", _folder_name(year)) for year in _year_folders(root))
    if official and names <= set(VOC_CLASS_NAMES):
        return VOC_CLASS_NAMES
    if not names:
        raise DataError(f"{root}: split {split!r} has no object to learn the classes from; give the class names")
    return tuple(sorted(names))


def _checked_names(root: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(class_names)
    if not names or len(set(names)) != len(names):
        raise DataError(f"{root}: class names must be given once each, got {list(names)}")
    return names


def _sample(entry: _Entry, objects: Sequence[_Object], label_of: dict[str, int], tally: _IssueTally) -> Sample:
    hw = image_hw(entry.picture)
    boxes, labels, difficult = [], [], []
    for number, item in enumerate(objects, start=1):
        if item.name not in label_of:
            known = ", ".join(label_of)
            raise DataError(
                f"{entry.annotation}: object {number} has the unknown class {item.name[:80]!r}; known: {known}"
            )
        box, problem = _fit_box(item.corners, hw)
        if problem:
            tally.add(f"{entry.annotation}: object {number} ({item.name}) {problem}", dropped=box is None)
        if box is not None:
            boxes.append(box)
            labels.append(label_of[item.name])
            difficult.append(item.difficult)
    return Sample(
        entry.image_id,
        entry.picture,
        hw,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(difficult, np.bool_),
    )


def _fit_box(
    corners: tuple[float, float, float, float], image_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.float32] | None, str]:
    """VOC corners to clipped pixel edges ``[4]``: ``(box or None where no area is left, problem or "")``.

    At most one pixel outside is no problem: tools that count from 0 write it.
    """
    height, width = image_hw
    xmin, ymin, xmax, ymax = corners
    written = f"{xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}"
    if xmax <= xmin or ymax <= ymin:
        return None, f"has no area: {written}"
    edges = np.array([xmin - 1, ymin - 1, xmax, ymax])
    inside = np.clip(edges, 0, [width, height, width, height])
    box = inside.astype(np.float32)
    if box[2] <= box[0] or box[3] <= box[1]:
        return None, f"has no area within the {width} x {height} picture: {written}"
    outside = np.abs(edges - inside).max() > 1
    return box, f"reaches outside the {width} x {height} picture: {written}" if outside else ""


class _IssueTally:
    """Counts box problems while a split is read; raises at the first where ``strict``."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._dropped = 0
        self._clipped = 0
        self._examples: list[str] = []

    def add(self, text: str, *, dropped: bool) -> None:
        if self._strict:
            raise DataError(f"{text}; correct the annotation, or load without strict")
        self._dropped += dropped
        self._clipped += not dropped
        if len(self._examples) < MAX_EXAMPLES:
            self._examples.append(text)

    def issues(self) -> BoxIssues:
        return BoxIssues(self._dropped, self._clipped, tuple(self._examples))

"""One VOC annotation file: its objects as written, from XML that is checked before it is parsed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.boxes import refuse_fractions
from spikedet.data.class_names import MAX_NAME, is_class_name
from spikedet.data.layout import AnnotatedImage, WrittenObject
from spikedet.data.text import read_bounded
from spikedet.data.values import finite_number, shown, written_hw

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DIFFICULT = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}
_XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_KNOWN_ENCODING = re.compile(
    r"utf-?8(-sig)?|utf-?16|(us-)?ascii|iso-8859-\d{1,2}|latin-?1|(windows-|cp)125\d|gb(k|2312|18030)|big5|shift_jis|euc-(jp|kr)"
)


def read_annotation(path: Path) -> AnnotatedImage:
    """The objects of a VOC file, their numbers xmin, ymin, xmax, ymax (1-based, inclusive), and its ``<size>``.

    Raises:
        DataError: the file is missing, not XML that can be trusted, or an object is not whole.
    """
    text = _safe_xml_text(path)
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError) as error:
        raise DataError(f"{path}: not well-formed XML ({error}); repair or remove the annotation") from error
    if root.tag != "annotation":
        raise DataError(f"{path}: the root element is <{root.tag}>, expected <annotation>")
    objects = [_read_object(path, number, element) for number, element in enumerate(root.findall("object"), start=1)]
    return AnnotatedImage(objects, written_hw(root.findtext("size/height"), root.findtext("size/width")))


def _safe_xml_text(path: Path) -> str:
    """The document as text, so that what is searched for declarations is what is parsed."""
    data = read_bounded(path, "annotation")
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


def _read_object(path: Path, number: int, element: ET.Element) -> WrittenObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{path}: object {number} has no <name>; add its class")
    if not is_class_name(name):
        raise DataError(
            f"{path}: object {number} has the name {shown(name)}; expected at most {MAX_NAME} printable characters"
        )
    where = f"{path}: object {number} ({name})"
    box = element.find("bndbox")
    if box is None:
        raise DataError(f"{where} has no <bndbox>; add one with {', '.join(_CORNERS)}")
    difficult = (element.findtext("difficult") or "").strip().lower()
    if difficult not in _DIFFICULT:
        raise DataError(f"{where} has <difficult>{difficult[:40]}</difficult>; expected 0 or 1")
    xmin, ymin, xmax, ymax = (_read_number(where, box, field) for field in _CORNERS)
    refuse_fractions(where, (xmin, ymin, xmax, ymax))
    return WrittenObject(f"object {number}", name, (xmin, ymin, xmax, ymax), _DIFFICULT[difficult])


def _read_number(where: str, box: ET.Element, field: str) -> float:
    text = box.findtext(field)
    if text is None:
        raise DataError(f"{where} has no <{field}> in its <bndbox>; add it")
    return finite_number(text, where, f"<{field}>{{}}</{field}>")

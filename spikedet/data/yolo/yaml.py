"""The ``data.yaml`` of a YOLO dataset: where the images lie and what the classes are called.

Its keys path, names, nc, train, val, test and splits are read; no other (download, kpt_shape, ...) has an effect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikedet.common.errors import ConfigError, DataError
from spikedet.data.class_names import checked_class_names
from spikedet.data.layout import folder_name
from spikedet.data.split_names import checked_split_name
from spikedet.data.values import as_config_error, shown

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASS_LISTS = frozenset({"classes.txt", "class_names.txt", "names.txt", "_darknet.labels", "labels.txt"})
"""Files with the name of a class in each line, besides Darknet's ``obj.names``; they lie among the labels."""

SPLIT_KEYS = ("train", "val", "test")
MORE_SPLITS = "splits"
"""Key of a mapping with further splits (trainval, ...), which ultralytics has no place for; only we write it."""

_KEYS = (*SPLIT_KEYS, MORE_SPLITS, "path", "nc")


@dataclass(frozen=True)
class YoloFile:
    """What a ``data.yaml`` says.

    Attributes:
        file: the YAML file.
        root: the dataset's folder: ``path``, else the file's own; links are resolved.
        name: the folder's name as written.
        class_names: in the order of the class indices.
        parts: by split, folders of images and lists of images as written.
    """

    file: Path
    root: Path
    name: str
    class_names: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]


def is_yolo(content: Mapping[str, Any]) -> bool:
    """Whether a mapping is a YOLO dataset's, and not our own short form with ``data``."""
    return "data" not in content and any(key in content for key in _KEYS)


def has_splits(content: Mapping[str, Any]) -> bool:
    """Whether it says where the images of a split are."""
    return any(content.get(key) for key in (*SPLIT_KEYS, MORE_SPLITS))


def parse_yolo(file: Path, content: Mapping[str, Any]) -> YoloFile:
    """The parts of a ``data.yaml`` that matter.

    Raises:
        ConfigError: a value is not what it should be.
        DataError: the folder of ``path`` is missing.
    """
    names = class_names_of(file, content.get("names"))
    count = content.get("nc")
    if count is not None and (isinstance(count, bool) or count != len(names)):
        raise ConfigError(f"{file}: 'nc' is {shown(count)}, but 'names' has {len(names)}; correct one of them")
    folder = _root(file, content.get("path"))
    more = content.get(MORE_SPLITS)
    more = {key: value for key, value in more.items() if isinstance(key, str)} if isinstance(more, dict) else {}
    parts = {}
    for key, value in ({key: content.get(key) for key in SPLIT_KEYS} | more).items():
        if value:  # a key without a value is no split
            with as_config_error():
                checked_split_name(f"{file}: {MORE_SPLITS!r}", key)
            parts[key] = _parts(file, key, value)
    if not parts:
        raise ConfigError(f"{file}: no split; expected at least one of {', '.join(SPLIT_KEYS)}")
    return YoloFile(file, folder.resolve(), folder_name(folder), names, parts)


def class_names_of(file: Path, names: object) -> tuple[str, ...]:
    """The class names of a list, or of a mapping from 0, 1, ... to them. Raises ConfigError."""
    if isinstance(names, dict):
        if set(names) != set(range(len(names))) or any(type(key) is not int for key in names):
            raise ConfigError(f"{file}: the keys of 'names' must be 0, 1, 2, ... without a gap")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise ConfigError(f"{file}: 'names' must be a list of class names or a mapping from 0, 1, ... to them")
    try:
        plain = [str(name) if type(name) is int else name for name in names]
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError(f"{file}: 'names': {error}") from error
    with as_config_error():
        return checked_class_names(f"{file}: 'names'", plain)


def _root(file: Path, written: object) -> Path:
    """``path`` relative to the file, or where that is nothing to the working folder; the file's folder without it."""
    if written in (None, ""):
        return file.parent
    if not isinstance(written, str) or not written.strip():
        raise ConfigError(f"{file}: 'path' must be a folder, got {shown(written)}")
    try:
        path = Path(written).expanduser()
        found = next((folder for folder in (file.parent / path, path) if folder.is_dir()), None)
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(f"{file}: 'path' {shown(written)} cannot be used ({error}); write the folder out") from error
    if found is None:
        raise DataError(f"{file}: 'path' {written!r} is no folder; correct it, or remove it if the data lie beside it")
    return found


def _parts(file: Path, key: str, value: object) -> tuple[str, ...]:
    """A split's folders and lists."""
    values: list[object] = value if isinstance(value, list) else [value]
    texts = [os.path.expanduser(item) for item in values if isinstance(item, str) and item.strip()]
    if len(texts) != len(values):
        raise ConfigError(f"{file}: {key!r} must be a folder, a .txt file or a list of those, got {shown(value)}")
    return tuple(texts)

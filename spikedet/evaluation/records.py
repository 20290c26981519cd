"""Results as frozen dataclasses, to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from spikedet.errors import DataError
from spikedet.files import write_json

Record = TypeVar("Record")


def write_record(path: Path, record: Any) -> Path:
    """Write a dataclass, and the dataclasses in it, as JSON in one step. Raises SpikedetError if it cannot be."""
    return write_json(path, dataclasses.asdict(record))


def read_record(kind: type[Record], path: Path) -> Record:
    """What ``write_record`` wrote; keys that this version does not know are left out.

    Raises:
        DataError: naming the file, if it is no such file.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON in UTF-8 ({error})") from error
    try:
        return typing.cast(Record, restored(kind, content))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a {kind.__name__} written by spikedet ({error})") from error


def restored(hint: Any, value: Any) -> Any:
    """A value read from JSON as the type that it is declared with."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        known = [field.name for field in dataclasses.fields(hint) if field.name in value]
        return typing.cast(Any, hint)(**{name: restored(hints[name], value[name]) for name in known})
    if origin in (types.UnionType, typing.Union):
        return None if value is None else restored(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        inner = arguments[0] if arguments[-1] is Ellipsis else None
        return tuple(restored(inner or arguments[i], item) for i, item in enumerate(value))
    if origin is dict:
        return {key: restored(arguments[1], item) for key, item in value.items()}
    return value

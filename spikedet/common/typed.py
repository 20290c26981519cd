"""JSON that others may have written, checked against the types of a dataclass: one loader for every such file."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from spikedet.common.errors import SpikedetError

T = TypeVar("T")


def typed(kind: type[T], content: Any, where: str, error: type[SpikedetError]) -> T:
    """What is read as an object of a type.

    Args:
        kind: a dataclass, or any type that msgspec knows; ``Annotated[int, Meta(ge=1)]`` gives ranges.
        content: JSON as text or bytes, or values that are read already.
        where: the file, with which the message begins.
        error: what is raised.

    Raises:
        SpikedetError: of the type ``error``; the message names the file and the field, and says what was expected.
    """
    try:
        if isinstance(content, (str, bytes)):
            return msgspec.json.decode(content, type=kind)
        return msgspec.convert(content, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise error(f"{where}: {_sentence(str(problem))}") from problem


def _sentence(message: str) -> str:
    """``Expected `int`, got `str` - at `$.rows[0].T``` -> ``rows[0].T: expected int, got str``."""
    text, _, place = message.replace("`", "").partition(" - at $")
    text = text[:1].lower() + text[1:] if text.startswith(("Expected", "Invalid", "Object", "Array")) else text
    return f"{place.lstrip('.')}: {text}" if place else text

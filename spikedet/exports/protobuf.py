"""The fields of a protobuf file counted before it is parsed, so that parsing it takes memory in proportion to its size.

Two bytes of a file can become an object of a hundred: an empty message in a repeated field.
"""

from __future__ import annotations

from typing import Any

MOST_FIELDS = 2**18
"""Of all messages; a network of 60 layers with 32 time steps written one after the other has a third."""
MOST_DEPTH = 32
"""Of messages in messages; a graph in the body of a loop has 12."""
MOST_NUMBERS = 2**20
"""Bytes of a list of numbers that is not raw: each byte may become a number of eight."""
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def require_modest(content: bytes, descriptor: Any) -> None:
    """Walk through all messages of known type; what else is there is skipped, as a parser skips it.

    Args:
        content: the file.
        descriptor: of its outermost message, for example ``onnx.ModelProto.DESCRIPTOR``.

    Raises:
        ValueError: it is cut, too deep, has too many fields, or bytes that no protobuf writer makes.
    """
    fields = 0
    open_messages = [(0, len(content), descriptor, 1)]
    while open_messages:
        position, end, kind, depth = open_messages.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"messages in messages, more than {MOST_DEPTH} deep")
        known = kind.fields_by_number
        while position < end:
            fields += 1
            if fields > MOST_FIELDS:
                raise ValueError(f"more than {MOST_FIELDS} fields")
            key, position = _varint(content, position, end)
            form = key & 7
            if form == _VARINT:
                _, position = _varint(content, position, end)
                continue
            if form == _LENGTH:
                length, position = _varint(content, position, end)
            elif form in (_FIXED64, _FIXED32):
                length = 8 if form == _FIXED64 else 4
            else:
                raise ValueError(f"a field of the unknown form {form}")
            if length > end - position:
                raise ValueError("it ends within a field")
            field = known.get(key >> 3)
            if form == _LENGTH and field is not None:
                if field.message_type is not None:
                    open_messages.append((position, position + length, field.message_type, depth + 1))
                elif field.type not in (field.TYPE_STRING, field.TYPE_BYTES) and length > MOST_NUMBERS:
                    raise ValueError(f"{field.name} of {length} bytes as a list of numbers, expected raw data")
            position += length


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    """A number and the position after it."""
    value = shift = 0
    while position < end:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
    raise ValueError("it ends within a number")

"""Fields of a protobuf file are counted before it is parsed."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from spikedet.exports.protobuf import MOST_DEPTH, MOST_FIELDS, MOST_NUMBERS, require_modest

MODEL = onnx.ModelProto.DESCRIPTOR


def field(key: int, content: bytes) -> bytes:
    """A message or bytes as a field."""
    length, made = len(content), b""
    while length > 127:
        made, length = made + bytes([length & 127 | 128]), length >> 7
    return bytes([key << 3 | 2]) + made + bytes([length]) + content


def test_a_whole_file_is_modest() -> None:
    node = helper.make_node(
        "Clip", ["x", "", "m"], ["y"], name="n", k=1.5, several=[1, 2], body=helper.make_graph([], "g", [], [])
    )
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    require_modest(model.SerializeToString(), MODEL)
    require_modest(b"", MODEL)


def test_many_empty_messages_are_refused() -> None:
    node = field(1, b"")
    require_modest(field(7, node * 1000), MODEL)
    with pytest.raises(ValueError, match=f"more than {MOST_FIELDS} fields"):
        require_modest(field(7, node * MOST_FIELDS), MODEL)


def test_messages_in_messages_are_refused() -> None:
    nested = b""
    for _ in range(MOST_DEPTH):
        nested = field(1, field(5, field(6, nested)))  # a graph in an attribute of a node
    with pytest.raises(ValueError, match=f"more than {MOST_DEPTH} deep"):
        require_modest(field(7, nested), MODEL)


def test_lists_of_numbers_are_refused_where_they_are_long() -> None:
    tensor = field(7, bytes(MOST_NUMBERS + 1))  # int64_data, packed
    with pytest.raises(ValueError, match=r"int64_data of \d+ bytes as a list of numbers"):
        require_modest(field(7, field(5, tensor)), MODEL)
    require_modest(field(7, field(5, field(9, bytes(MOST_NUMBERS + 1)))), MODEL)  # raw_data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x3a", "ends within a number"),
        (b"\x3a\x05ab", "ends within a field"),
        (b"\x08" + b"\xff" * 11, "more than ten bytes"),
        (b"\x0b", "unknown form 3"),
        (b"\x0d\x00", "ends within a field"),
    ],
)
def test_what_no_writer_makes_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_modest(content, MODEL)


def test_every_prefix_of_a_file_is_whole_or_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    content = helper.make_model(helper.make_graph([node], "graph", [], [])).SerializeToString()
    refused = 0
    for length in range(len(content)):
        try:
            require_modest(content[:length], MODEL)
        except ValueError:
            refused += 1
    assert refused > len(content) / 2

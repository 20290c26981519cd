"""One loader for JSON of others: objects of a type, or one sentence with the file and the field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from spikedet.common.errors import DataError
from spikedet.common.typed import typed


@dataclass(frozen=True)
class Inner:
    """With a rule of its own."""

    low: int
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, got {self.low} and {self.high}")


@dataclass(frozen=True)
class Outer:
    """Of all kinds."""

    name: Literal["a", "b"]
    steps: Annotated[int, Meta(ge=1, le=8)] | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    parts: list[Inner] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)


def test_nothing_more_than_what_must_be() -> None:
    assert typed(Outer, '{"name": "a"}', "x.json", DataError) == Outer("a")


@pytest.mark.parametrize("as_text", [True, False])
def test_objects_of_a_type(as_text: bool) -> None:
    values = {"name": "b", "steps": 8, "pair": [1, 2.5], "parts": [{"low": 3}], "rest": {"x": [None]}, "unknown": 1}
    text = '{"name": "b", "steps": 8, "pair": [1, 2.5], "parts": [{"low": 3}], "rest": {"x": [null]}, "unknown": 1}'
    found = typed(Outer, text if as_text else values, "x.json", DataError)
    assert found == Outer("b", 8, (1.0, 2.5), [Inner(3)], {"x": [None]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "x.json: expected object, got array"),
        ("{}", "x.json: object missing required field name"),
        ('{"name": "c"}', "x.json: name: invalid enum value 'c'"),
        ('{"name": "a", "steps": 9}', "x.json: steps: expected int <= 8"),
        ('{"name": "a", "steps": true}', "x.json: steps: expected int | null, got bool"),
        ('{"name": "a", "steps": "3"}', "x.json: steps: expected int | null, got str"),
        ('{"name": "a", "pair": [1]}', "x.json: pair: expected array of length 2"),
        ('{"name": "a", "parts": [{"low": 1}, {"low": "1"}]}', "x.json: parts[1].low: expected int, got str"),
        ('{"name": "a", "parts": [{"low": 10}]}', "x.json: parts[0]: low must not exceed high, got 10 and 9"),
        ('{"name": "a", "pair": [NaN, 1]}', "x.json: JSON is malformed: invalid character (byte 23)"),
        ('{"name": "a"', "x.json: Input data was truncated"),
    ],
)
def test_the_file_and_the_field_are_named(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        typed(Outer, text, "x.json", DataError)
    assert str(caught.value) == message


def test_text_without_end_is_refused() -> None:
    with pytest.raises(DataError, match=r"x\.json: "):
        typed(dict[str, Any], '{"a":' * 100_000, "x.json", DataError)

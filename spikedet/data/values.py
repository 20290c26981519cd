"""Values as files have them, and as errors and files may show them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from spikedet.common.errors import ConfigError, DataError

_PIXELS = re.compile(r"\s*0*[1-9]\d{0,8}(\.0*)?\s*", re.ASCII)


def finite_number(text: str, where: str, form: str = "{!r}") -> float:
    """The number that a text is. Raises DataError, which shows it in this form, where it is none or not finite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where} has {form.format(text.strip()[:40])}; expected a finite number")
    return value


def is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number; whole ones may have hundreds of digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def written_hw(height: object, width: object) -> tuple[int, int] | None:
    """Height and width as a file has them; None unless both are whole and above 0: some tools write 0 for unknown."""
    texts = [str(side) for side in (height, width) if isinstance(side, str | int | float)]
    if len(texts) < 2 or not all(map(_PIXELS.fullmatch, texts)):
        return None
    return int(float(texts[0])), int(float(texts[1]))


def plain_number(value: float) -> int | float:
    """As it is written: a whole number without a point, any other to a millionth of a pixel."""
    rounded = round(value, 6)
    return int(rounded) if rounded == int(rounded) else rounded


def shown(value: object) -> str:
    """A value from a file as an error may show it: short, printable, and of a nested one only its type."""
    if isinstance(value, str | int | float | None):
        value = value[:80] if isinstance(value, str) else value
        text = repr(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
        return text if len(text) <= 80 else f"{text[:77]}..."
    return f"a {type(value).__name__}"


@contextmanager
def as_config_error() -> Iterator[None]:
    """A DataError about what stands in a settings file is a ConfigError."""
    try:
        yield
    except DataError as error:
        raise ConfigError(str(error)) from error

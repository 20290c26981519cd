"""Ranges of settings, and the checks that every configuration makes."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from spikedet.common.errors import ConfigError


def flag_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


LIMITS = {"image_size": (1, 8192), "T": (1, 32767), "delay": (0, 1000), "seed": (0, 2**63 - 1)}
"""Least and most; a checkpoint beyond them is damaged rather than ambitious. Spikes are counted in 16 bits."""


@dataclass(frozen=True)
class Range:
    """The values that a numeric setting may have; stands in its type: ``Annotated[int, Range(1)]``.

    Attributes:
        least, most: bounds that belong to the range.
        above: a bound that does not.
        multiple_of: of a whole number.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    multiple_of: int = 1

    def __contains__(self, value: float) -> bool:
        return (
            self.least <= value <= self.most
            and value > self.above
            and (self.multiple_of == 1 or value % self.multiple_of == 0)
        )

    def __str__(self) -> str:
        if math.isinf(self.most):
            return "positive" if self.above == 0 else "zero or more"
        multiple = f"a multiple of {self.multiple_of} " if self.multiple_of > 1 else ""
        return f"{multiple}between {self.least} and {self.most}"


Count = Annotated[int, Range(above=0)]
Whole = Annotated[int, Range(0)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
TimeSteps = Annotated[int, Range(*LIMITS["T"])]
Delay = Annotated[int, Range(*LIMITS["delay"])]
Seed = Annotated[int, Range(*LIMITS["seed"])]
ImageSize = Annotated[int, Range(32, LIMITS["image_size"][1], multiple_of=32)]


class Checked:
    """A configuration whose values are checked against the types of its fields: ranges and choices.

    ``basic`` names the settings that most people need, which ``--help`` shows; none shows all.
    ``file_only`` names the settings that have no flag: keys of a ``--config`` file, arguments in Python.
    ``needs`` names, by a switch (``fine``) or by a choice (``method=sfa``), the settings that do nothing without it:
    they keep their defaults then.
    """

    basic: ClassVar[str] = ""
    file_only: ClassVar[str] = ""
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def __post_init__(self) -> None:
        for name, allowed in _allowed(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            if value is not None and value not in allowed:
                expected = str(allowed) if isinstance(allowed, Range) else f"one of {allowed}"
                raise ConfigError(f"{self.shown(name)} must be {expected}, got {value!r}")
        defaults = {item.name: item.default for item in fields(self)}  # type: ignore[arg-type]
        for switch, names in self.needs.items():
            field, _, choice = switch.partition("=")
            chosen = getattr(self, field) == choice if choice else getattr(self, field)
            for name in names:
                if not chosen and getattr(self, name) != defaults[name]:
                    shown = f"{flag_name(field)} {choice}".rstrip()
                    raise ConfigError(f"{self.shown(name)} has no effect without {shown}")

    @classmethod
    def shown(cls, name: str) -> str:
        """A setting as a person gives it: its flag, if it has one."""
        return name if name in cls.file_only.split() else flag_name(name)

    def recorded(self) -> dict[str, Any]:
        """The settings as a checkpoint keeps them: a run that was resumed has the same as one that was not."""
        resumed = {"resume": False} if hasattr(self, "resume") else {}
        return {item.name: getattr(self, item.name) for item in fields(self)} | resumed  # type: ignore[arg-type]


@functools.cache
def _allowed(config: type) -> dict[str, Range | tuple[str, ...]]:
    """Ranges and choices by field, from the types."""
    found: dict[str, Range | tuple[str, ...]] = {}
    for name, hint in get_type_hints(config, include_extras=True).items():
        for part in (hint, *get_args(hint)):
            if get_origin(part) is Annotated and isinstance(part.__metadata__[0], Range):
                found[name] = part.__metadata__[0]
            elif get_origin(part) is Literal:
                found[name] = get_args(part)
    return found

"""Objects that a caller in Python gives in place of paths: known by a name while a command runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

_GIVEN: ContextVar[Mapping[str, Any]] = ContextVar("given", default=MappingProxyType({}))


@contextmanager
def known_by_name(objects: Mapping[str, Any]) -> Iterator[None]:
    """Let ``given`` find these objects, by name."""
    token = _GIVEN.set({**_GIVEN.get(), **{os.path.abspath(name): value for name, value in objects.items()}})
    try:
        yield
    finally:
        _GIVEN.reset(token)


def given(name: str | Path) -> Any:
    """The object of this name, relative or made absolute; None where the name is a path."""
    objects = _GIVEN.get()
    return objects.get(os.path.abspath(name)) if objects else None

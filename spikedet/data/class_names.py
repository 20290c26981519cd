"""Names of classes, checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.data.values import shown

MAX_CLASSES, MAX_NAME = 20_000, 200
"""Most classes of a dataset, and characters of a class's name."""


def checked_class_names(where: str, names: Iterable[object]) -> tuple[str, ...]:
    """Class names without surrounding blanks.

    Raises:
        DataError: there is none or there are more than ``MAX_CLASSES``, one is not a class name, or one is there twice.
    """
    checked: dict[str, None] = {}
    for given in names:
        if not isinstance(given, str) or not is_class_name(name := given.strip()):
            raise DataError(
                f"{where}: expected a class name, got {shown(given)}; quote names such as 'no' or '1', and use at most "
                f"{MAX_NAME} printable characters"
            )
        if name in checked:
            raise DataError(f"{where}: the class name {shown(name)} is there twice; give each class one name")
        checked[name] = None
    if not checked:
        raise DataError(f"{where}: no class names; give at least one")
    if len(checked) > MAX_CLASSES:
        raise DataError(f"{where}: {len(checked)} class names; at most {MAX_CLASSES} are supported")
    return tuple(checked)


def is_class_name(name: str) -> bool:
    """Whether a text without surrounding blanks can be the name of a class."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def plain_name(name: str) -> str:
    """A class name without upper case and with single spaces: what is alike in this is one class, as a rule."""
    return " ".join(name.casefold().split())


def check_same_names(root: Path, first: str, names: Sequence[str], other: str, others: Sequence[str]) -> None:
    """Raise DataError unless two splits have the same classes in the same order."""
    if tuple(names) != tuple(others):
        odd = sorted(set(names) ^ set(others))
        what = f"only one has {shown(odd[0])}" if odd else "their order differs"
        raise DataError(f"{root}: splits {first!r} and {other!r} have different classes ({what}); make them alike")

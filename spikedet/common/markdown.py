"""Tables in Markdown and in plain columns; text from files in them is shown as it is, none of it is run or fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_MEANT = re.compile(r"[\\`|<]|(?<=\])[(\[:]|(?<=:)/(?=/)|(?<=\bwww)\.")


def plain_text(text: str) -> str:
    """A name as Markdown that is shown letter by letter: no link, image, HTML, code or cell of a table begins in it.

    Characters that cannot be shown, line breaks among them, become spaces. Ordinary names stay as they are.
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return _MEANT.sub(r"\\\g<0>", shown)


def table(head: Sequence[str], lines: Iterable[Sequence[str]], words: int = 1) -> str:
    """Cells as a table; all columns but the first ``words`` hold numbers, which stand to the right."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def aligned(rows: Sequence[Sequence[str]], words: int) -> str:
    """Cells in columns of plain text, the first ``words`` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    places = [f"<{width}" if i < words else f">{width}" for i, width in enumerate(widths)]
    return "\n".join("  ".join(map(format, row, places)).rstrip() for row in rows)


def decimal(value: float | None) -> str:
    """A number with one decimal, never ``-0.0``; ``-`` for None."""
    return "-" if value is None else f"{round(value, 1) + 0.0:.1f}"

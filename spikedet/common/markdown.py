"""Text from files within Markdown: shown as it is, with nothing in it that a renderer would follow, fetch or run."""

from __future__ import annotations

import re

_MEANT = re.compile(r"[\\`|<]|(?<=\])[(\[:]|(?<=:)/(?=/)|(?<=\bwww)\.")


def plain_text(text: str) -> str:
    """A name as Markdown that is shown letter by letter: no link, image, HTML, code or cell of a table begins in it.

    Characters that cannot be shown, line breaks among them, become spaces. Ordinary names stay as they are.
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return _MEANT.sub(r"\\\g<0>", shown)

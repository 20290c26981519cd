"""Counts in sentences."""

from __future__ import annotations


def counted(count: int, thing: str, things: str = "") -> str:
    """``"1 image"``, ``"2 images"``; ``things`` is the plural where it has more than an s."""
    return f"{count} {thing if count == 1 else things or f'{thing}s'}"

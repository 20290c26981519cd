"""Bounded work: what runs at once, what waits for its turn, and who is told that the page is busy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Busy(Exception):
    """There is no place left; the visitor may try again in a moment."""


class Turns:
    """Places in a queue, and turns to work.

    Args:
        at_once: how many work at the same time, in the order in which they came.
        places: how many there may be in all, those that work included.
        each: how many of them may belong to one client.
    """

    def __init__(self, at_once: int, places: int, each: int) -> None:
        self._places, self._each = places, each
        self._held: Counter[str] = Counter()
        self.running = asyncio.Semaphore(at_once)

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Hold a place for the block. Raises Busy where none is left, for this client or at all."""
        if self._held[client] >= self._each or self._held.total() >= self._places:
            raise Busy
        self._held[client] += 1
        try:
            yield
        finally:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]


class Bytes:
    """Bytes of uploads that are stored at the same time."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Reserve bytes for the block. Raises Busy where they are not left."""
        if count > self._left:
            raise Busy
        self._left -= count
        try:
            yield
        finally:
            self._left += count

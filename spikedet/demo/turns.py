"""Bounded work: what runs at once, what waits for its turn, and who is told that the page is busy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Busy(Exception):
    """There is no place left; the visitor may try again in a moment."""


@dataclass(frozen=True)
class Client:
    """Whose a request is.

    Attributes:
        name: the visitor's, or the address again.
        address: which others may share.
    """

    name: str
    address: str


class Turns:
    """Places in a queue, and turns to work.

    Args:
        at_once: how many work at the same time, in the order in which they came.
        places: how many there may be in all, those that work included; half of them for one address.
        each: how many of them may belong to one client.
    """

    def __init__(self, at_once: int, places: int, each: int) -> None:
        self._each, self._shares = each, Shares(places)
        self._held: Counter[str] = Counter()
        self.running = asyncio.Semaphore(at_once)

    @contextmanager
    def place(self, client: Client) -> Iterator[None]:
        """Hold a place for the block. Raises Busy where none is left, for this client, its address or at all."""
        if self._held[client.name] >= self._each:
            raise Busy
        with self._shares.held(client, 1), _counted(self._held, client.name, 1):
            yield


class Shares:
    """What visitors hold at the same time: ``most`` in all, and half of it for one address."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    @contextmanager
    def held(self, client: Client, count: int) -> Iterator[None]:
        """Hold so much for the block. Raises Busy where it is not left."""
        if self._held.total() + count > self._most or self._held[client.address] + count > self._most // 2:
            raise Busy
        with _counted(self._held, client.address, count):
            yield


@contextmanager
def _counted(held: Counter[str], name: str, count: int) -> Iterator[None]:
    held[name] += count
    try:
        yield
    finally:
        held[name] -= count
        if not held[name]:
            del held[name]

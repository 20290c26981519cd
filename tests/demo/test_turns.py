"""Places and turns."""

from __future__ import annotations

import asyncio

import pytest

from spikedet.demo.turns import Busy, Bytes, Turns


def test_places_in_all_and_of_each() -> None:
    turns = Turns(at_once=1, places=3, each=2)
    with turns.place("a"), turns.place("a"):
        with pytest.raises(Busy), turns.place("a"):
            raise AssertionError
        with turns.place("b"), pytest.raises(Busy), turns.place("c"):
            raise AssertionError
        with turns.place("c"):
            pass
    with turns.place("a"):
        pass
    assert not turns._held  # nothing is remembered of those who have gone


def test_turns_come_in_order() -> None:
    done: list[int] = []

    async def work(turns: Turns, number: int) -> None:
        async with turns.running:
            await asyncio.sleep(0.001)
            done.append(number)

    async def main() -> None:
        turns = Turns(at_once=1, places=9, each=9)
        await asyncio.gather(*(work(turns, number) for number in range(5)))

    asyncio.run(main())
    assert done == [0, 1, 2, 3, 4]


def test_bytes() -> None:
    stored = Bytes(10)
    with stored.reserved(7), pytest.raises(Busy), stored.reserved(4):
        raise AssertionError
    with pytest.raises(ZeroDivisionError), stored.reserved(10):
        raise ZeroDivisionError
    with stored.reserved(10):
        pass

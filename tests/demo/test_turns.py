"""Places and turns."""

from __future__ import annotations

import asyncio

import pytest

from spikedet.demo.turns import Busy, Client, Shares, Turns


def client(name: str, address: str = "") -> Client:
    return Client(name, address or name)


def test_places_of_each_and_in_all() -> None:
    turns = Turns(at_once=1, places=4, each=2)
    with turns.place(client("a")), turns.place(client("a")):
        with pytest.raises(Busy), turns.place(client("a")):
            raise AssertionError
        with turns.place(client("b")), turns.place(client("c")), pytest.raises(Busy), turns.place(client("d")):
            raise AssertionError
        with turns.place(client("d")):
            pass
    with turns.place(client("a")):
        pass
    assert not turns._held and not turns._shares._held  # nothing is remembered of those who have gone


def test_one_address_has_half_of_the_places_whatever_names_it_has() -> None:
    turns = Turns(at_once=1, places=4, each=2)
    with turns.place(client("a", "home")), turns.place(client("b", "home")):
        with pytest.raises(Busy), turns.place(client("c", "home")):
            raise AssertionError
        with turns.place(client("c", "elsewhere")):
            pass


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


def test_shares() -> None:
    stored = Shares(20)
    with stored.held(client("a"), 7), pytest.raises(Busy), stored.held(client("a"), 4):
        raise AssertionError
    with stored.held(client("a"), 10), stored.held(client("b"), 9), pytest.raises(Busy), stored.held(client("c"), 2):
        raise AssertionError
    with pytest.raises(ZeroDivisionError), stored.held(client("a"), 10):
        raise ZeroDivisionError
    with stored.held(client("a"), 10):
        pass

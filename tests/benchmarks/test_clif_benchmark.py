"""Seconds of a training's log, also of one that was interrupted; the tables of what learning costs."""

from __future__ import annotations

from pathlib import Path

import clif
from experiment import training_seconds
from tables import learning_table, memory_table


def test_seconds_are_those_of_all_epochs(tmp_path: Path) -> None:
    log = tmp_path / "clif-log.csv"
    log.write_text("epoch,time,loss\n1,10.0,3\n2,25.0,2\n3,12.0,2\n4,20.5,1\n", encoding="utf-8")
    assert training_seconds(log) == 10 + 15 + 12 + 8.5  # resumed after the second epoch


def test_the_tables_say_what_was_saved_and_how_much_memory_it_took() -> None:
    rows = [
        {"way": way, "seconds": seconds, "AP": 50.0, "AP50": 80.0} for way, seconds in (("neither", 200), ("both", 130))
    ]
    memory = [{"T": T, "learning": way, "bytes": T * size << 20} for way, size in (("a", 2), ("b", 3)) for T in (4, 8)]
    assert learning_table(rows).splitlines()[-1] == "| both | 130 | 35.0 | 50.0 | 80.0 |"
    assert memory_table(memory).splitlines() == [
        "| learning, peak MiB | T = 4 | T = 8 |",
        "| --- | ---: | ---: |",
        "| a | 8 | 16 |",
        "| b | 12 | 24 |",
    ]


def test_every_way_is_a_training() -> None:
    for settings in clif.WAYS.values():
        clif.FinetuneConfig(checkpoint="x", method="clif", T=4, **settings)

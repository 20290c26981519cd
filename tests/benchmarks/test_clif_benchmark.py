"""The table of training time: seconds of a log, also of one that was interrupted."""

from __future__ import annotations

from pathlib import Path

import clif
import pytest


def test_seconds_are_those_of_all_epochs(tmp_path: Path) -> None:
    log = tmp_path / "clif-log.csv"
    log.write_text("epoch,time,loss\n1,10.0,3\n2,25.0,2\n3,12.0,2\n4,20.5,1\n", encoding="utf-8")
    assert clif.seconds(log) == 10 + 15 + 12 + 8.5  # resumed after the second epoch


def test_the_table_says_what_was_saved() -> None:
    rows = [
        {"way": way, "seconds": seconds, "AP": 50.0, "AP50": 80.0} for way, seconds in (("neither", 200), ("both", 130))
    ]
    assert clif.table(rows).splitlines()[-1] == "| both | 130 | 35.0 | 50.0 | 80.0 |"


def test_every_way_is_a_training() -> None:
    for settings in clif.WAYS.values():
        clif.FinetuneConfig(checkpoint="x", method="clif", T=4, **settings)
    with pytest.raises(FileNotFoundError):
        clif.seconds(Path("nowhere.csv"))

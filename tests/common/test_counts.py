"""Counts in sentences."""

from __future__ import annotations

from spikedet.common.counts import counted


def test_one_and_many() -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]

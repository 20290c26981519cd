"""The published dry runs are what the command says today."""

from __future__ import annotations

from dry_runs import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python benchmarks/dry_runs.py --publish"

"""Settings of the commands' tests; tests/visualization, tests/costs and tests/end_to_end render plots."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quick_plots(unrendered_plots: None) -> None:
    pass

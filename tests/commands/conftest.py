"""Settings of the commands' tests; tests/visualization, tests/costs and tests/end_to_end render plots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unrendered import unrender


@pytest.fixture(scope="module", autouse=True)
def quick_plots() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        unrender(patch)
        yield

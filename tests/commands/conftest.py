"""Settings of the commands' tests: plots are small, as tests/visualization looks at them."""

from __future__ import annotations

import pytest

from spikedet.visualization import figure


@pytest.fixture(autouse=True)
def small_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "DPI", 50)

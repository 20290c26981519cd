"""Settings of the commands' tests: plots are drawn but not rendered, which takes most of many a command's time.

tests/visualization, tests/costs and tests/end_to_end render them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image


@pytest.fixture(autouse=True)
def unrendered_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(figure: Figure, path: Path, **settings: Any) -> None:
        Image.new("RGB", (60, 40)).save(path, settings["format"])

    monkeypatch.setattr(Figure, "savefig", save)

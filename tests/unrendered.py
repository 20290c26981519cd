"""Plots that are drawn but not rendered, which takes most of the time of many a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def unrender(patch: pytest.MonkeyPatch) -> None:
    """Write a small empty image in place of every plot."""

    def save(figure: Any, path: Path, **settings: Any) -> None:
        Image.new("RGB", (60, 40)).save(path, settings["format"])

    patch.setattr("matplotlib.figure.Figure.savefig", save)

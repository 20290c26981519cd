"""Plots that are drawn but not rendered, which takes most of the time of many a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def save_unrendered(figure: Any, path: Path, **settings: Any) -> None:
    """A small empty image in place of a plot."""
    Image.new("RGB", (60, 40)).save(path, settings["format"])


def unrender(patch: pytest.MonkeyPatch) -> None:
    """Every plot is saved so."""
    patch.setattr("matplotlib.figure.Figure.savefig", save_unrendered)

"""Fixtures of the data tests: a folder of one image, and the real data where they exist."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from voc_writer import write_year


@pytest.fixture
def one_image(tmp_path: Path) -> Callable[[str], Path]:
    """Write a year folder ``mine`` with the one 40 x 30 image ``a`` and this annotation text."""
    return lambda text: write_year(tmp_path / "mine", {"a": text})


@pytest.fixture
def real_data() -> Path:
    """The folder of real datasets; skips where there is none."""
    folder = Path(os.environ.get("SPIKEDET_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SPIKEDET_DATA")
    return folder

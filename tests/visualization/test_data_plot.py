"""Class counts and box sizes as an image."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikedet.visualization import figure
from spikedet.visualization.data_plot import plot_data

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "DPI", 40)


@pytest.mark.parametrize(
    ("counts", "sides"),
    [
        ({}, {}),
        ({"train": {}}, {"train": []}),
        ({"train": {"a": 0}, "val": {"a": 1}}, {"train": [], "val": [12.0]}),
        ({"train": {"a_$x_$b": 2, "$5 and $10": 1}}, {"train": [5.0]}),
        ({"train": {"a": 2, "b": 1}, "val": {"a": 0, "b": 1}}, {"train": [1.0, 64.0, 500.0], "val": [32.0]}),
    ],
)
def test_the_image_is_a_png_and_nothing_else_is_left(
    tmp_path: Path, counts: dict[str, dict[str, int]], sides: dict[str, list[float]]
) -> None:
    path = plot_data(
        counts, {split: np.array(values) for split, values in sides.items()}, tmp_path / "new" / "data.png"
    )
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (440, 180))
    assert [file.name for file in path.parent.iterdir()] == ["data.png"]


def test_many_classes_make_it_higher(tmp_path: Path) -> None:
    counts = {"train": {f"class {index}": index for index in range(80)}}
    path = plot_data(counts, {"train": np.array([1.0])}, tmp_path / "data.png")
    with Image.open(path) as image:
        assert image.size == (440, 840)


def test_of_too_many_those_with_the_most_objects_are_drawn(tmp_path: Path) -> None:
    """A bar for each of 20,000 classes takes all memory."""
    counts = {"train": {f"class {index}": index % 300 for index in range(20_000)}}
    path = plot_data(counts, {"train": np.array([1.0])}, tmp_path / "data.png")
    with Image.open(path) as image:
        assert image.size == (440, 1040)


def test_pyplot_stays_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_data({"train": {"a": 1}}, {"train": np.array([5.0])}, tmp_path / "data.png")
    assert "matplotlib.pyplot" not in sys.modules

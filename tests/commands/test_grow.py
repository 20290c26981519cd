"""Boxes growing with time: what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tiny_detector import T, chain, sample_images

from spikedet.commands.grow import grow
from spikedet.common.errors import ConfigError, DataError
from spikedet.config import GrowConfig

pytestmark = pytest.mark.slow


def sample_image() -> str:
    return str(sorted((sample_images() / "JPEGImages").glob("*.jpg"))[0])


def test_a_strip_an_animation_and_a_raster(tmp_path: Path) -> None:
    how = {"source": sample_image(), "weights": str(chain()["fine"]), "confidence": 0.05}
    strip = grow(GrowConfig(**how, layer="model.3", out=str(tmp_path)))  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growing.gif", "raster.png", "strip.png"]
    with Image.open(tmp_path / "growing.gif") as animation:
        assert animation.n_frames == T  # type: ignore[attr-defined]
    narrow = grow(GrowConfig(**how, t="1,4", out=str(tmp_path / "two")))  # type: ignore[arg-type]
    with Image.open(strip) as four, Image.open(narrow) as two:  # the steps are the columns
        assert T * 64 < four.size[0] > two.size[0] and two.size[1] == four.size[1]


def test_networks_without_time_are_shown_too(tmp_path: Path) -> None:
    grow(GrowConfig(source=sample_image(), weights=str(chain()["ann"]), out=str(tmp_path)))
    with Image.open(tmp_path / "growing.gif") as animation:
        assert animation.n_frames == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"t": "9"}, "--t 9: the networks were converted for at most T = 4"),
        ({"layer": "model.99"}, "--layer model.99: no such spiking layer in .*; expected one of model.0"),
    ],
)
def test_what_cannot_be_shown(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        grow(GrowConfig(source=sample_image(), weights=str(chain()["fine"]), out=str(tmp_path), **changed))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"a.jpg: not an image"):
        grow(GrowConfig(source=str(tmp_path / "a.jpg"), weights=str(chain()["fine"]), out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()

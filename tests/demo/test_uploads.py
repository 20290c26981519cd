"""What is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikedet.demo.uploads import MAX_SIDE, uploaded_picture
from spikedet.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def jpeg(path: Path) -> Path:
    Image.fromarray(PIXELS).save(path)
    return path


def test_a_picture_comes_through(tmp_path: Path) -> None:
    assert np.array_equal(uploaded_picture(jpeg(tmp_path / "a.png")), PIXELS)


def test_nothing_was_uploaded() -> None:
    with pytest.raises(DataError, match="no picture yet: upload one"):
        uploaded_picture(None)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jpg", b"", "empty.jpg: not a picture that can be read; expected JPEG"),
        ("text.jpg", b"hello, I am no picture", "text.jpg: not a picture that can be read"),
        ("half.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "half.png: "),
    ],
)
def test_files_that_are_no_pictures(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        uploaded_picture(write(tmp_path / name, content))
    assert str(tmp_path) not in str(caught.value)


def test_a_truncated_picture(tmp_path: Path) -> None:
    whole = jpeg(tmp_path / "whole.jpg").read_bytes()
    with pytest.raises(DataError, match=r"^cut.jpg: the picture is truncated or damaged"):
        uploaded_picture(write(tmp_path / "cut.jpg", whole[: len(whole) // 2]))


def test_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"moving.gif: an animation, not one picture; upload it as a video"):
        uploaded_picture(tmp_path / "moving.gif")


def test_a_picture_that_is_too_wide(tmp_path: Path) -> None:
    Image.new("L", (MAX_SIDE + 1, 2)).save(tmp_path / "wide.png")
    with pytest.raises(DataError, match=f"wide.png: {MAX_SIDE + 1} x 2 pixels; a side may have {MAX_SIDE}"):
        uploaded_picture(tmp_path / "wide.png")


def test_a_decompression_bomb(tmp_path: Path) -> None:
    bomb = Image.new("1", (11_000, 11_000))
    bomb.save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"^bomb.png: 11000 x 11000 pixels"):
        uploaded_picture(tmp_path / "bomb.png")

"""What is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from broken_uploads import broken_images
from PIL import Image

from spikedet.common.errors import DataError
from spikedet.demo.uploads import MAX_SIDE, uploaded_image

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def jpeg(path: Path) -> Path:
    Image.fromarray(PIXELS).save(path)
    return path


def test_an_image_comes_through(tmp_path: Path) -> None:
    assert np.array_equal(uploaded_image(jpeg(tmp_path / "a.png")), PIXELS)


def test_nothing_was_uploaded() -> None:
    with pytest.raises(DataError, match="no image yet: upload one"):
        uploaded_image(None)


@pytest.mark.parametrize("name", broken_images())
def test_broken_files_are_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"^{name}: ") as caught:
        uploaded_image(write(tmp_path / name, broken_images()[name]))
    assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty.jpg", "not an image that can be read; expected JPEG"),
        ("text.jpg", "not an image that can be read"),
        ("cut.jpg", "the image is truncated or damaged"),
        ("animation.gif", "an animation, not one image; upload it as a video"),
        ("wide.png", f"20000 x 2 pixels; a side may have {MAX_SIDE}"),
        ("bomb.png", "11000 x 11000 pixels"),
    ],
)
def test_what_is_said(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        uploaded_image(write(tmp_path / name, broken_images()[name]))


def test_a_stereo_photo_is_one_image(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[image])
    assert uploaded_image(tmp_path / "a.jpg").shape == PIXELS.shape


def test_a_side_as_long_as_allowed(tmp_path: Path) -> None:
    Image.new("L", (MAX_SIDE, 2)).save(tmp_path / "wide.png")
    assert uploaded_image(tmp_path / "wide.png").shape == (2, MAX_SIDE, 3)

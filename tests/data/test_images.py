"""Pictures of every mode become RGB; broken ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikedet.data import images
from spikedet.data.images import image_hw, read_image
from spikedet.errors import DataError


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def assert_pixel(image: np.ndarray, rgb: tuple[int, int, int], tolerance: int = 3) -> None:
    assert np.abs(image.astype(int) - rgb).max() <= tolerance


def test_rgb_png_is_read_exactly(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    assert image_hw(path) == (2, 3)
    np.testing.assert_array_equal(read_image(path), pixels)


@pytest.mark.parametrize(
    ("mode", "colour", "name", "rgb"),
    [
        ("L", 100, "grey.png", (100, 100, 100)),
        ("L", 100, "grey.jpg", (100, 100, 100)),
        ("1", 1, "bits.png", (255, 255, 255)),
        ("RGBA", (10, 20, 30, 0), "alpha.png", (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), "cmyk.jpg", (255, 0, 0)),
        ("RGB", (10, 20, 30), "plain.bmp", (10, 20, 30)),
    ],
)
def test_other_modes_become_rgb(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], name: str, rgb: tuple[int, int, int]
) -> None:
    path = save(tmp_path / name, Image.new(mode, (6, 4), colour))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (4, 6, 3)
    assert_pixel(image, rgb)


def test_palette_colours_are_resolved(tmp_path: Path) -> None:
    picture = Image.new("P", (5, 4), 1)
    picture.putpalette([0, 0, 0, 200, 10, 20])
    assert_pixel(read_image(save(tmp_path / "a.png", picture)), (200, 10, 20), tolerance=0)


def test_exif_orientation_6_turns_the_picture_and_its_size(tmp_path: Path) -> None:
    stored = Image.new("RGB", (16, 8), (0, 0, 0))
    stored.paste((255, 255, 255), (0, 0, 8, 8))  # left half; orientation 6 turns it a quarter clockwise: on top
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", stored, exif=exif, quality=100)
    image = read_image(path)
    assert image.shape == (16, 8, 3)
    assert image_hw(path) == (16, 8)
    assert_pixel(image[:8], (255, 255, 255))
    assert_pixel(image[8:], (0, 0, 0))


@pytest.mark.parametrize(("orientation", "hw"), [(1, (8, 16)), (3, (8, 16)), (8, (16, 8)), (99, (8, 16))])
def test_image_hw_agrees_with_the_decoded_picture(tmp_path: Path, orientation: int, hw: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", Image.new("RGB", (16, 8)), exif=exif)
    assert image_hw(path) == hw
    assert read_image(path).shape[:2] == hw


def test_truncated_jpeg_has_a_size_but_cannot_be_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    path = save(tmp_path / "a.jpg", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:2000])
    assert image_hw(path) == (64, 48)
    with pytest.raises(DataError, match=r"a\.jpg: the picture is truncated or damaged"):
        read_image(path)


def test_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: picture not found"):
        read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff"])
def test_no_picture_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: not a picture that can be read"):
        image_hw(path)


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 11)
    path = save(tmp_path / "a.png", Image.new("L", (4, 3)))
    with pytest.raises(DataError, match="4 x 3 pixels, more than the 11 allowed"):
        image_hw(path)

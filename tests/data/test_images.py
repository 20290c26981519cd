"""Images of every mode become RGB; broken ones are named."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikedet.common.errors import DataError
from spikedet.data import images
from spikedet.data.images import image_hw, read_image


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
    image = Image.new("P", (5, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 20])
    assert_pixel(read_image(save(tmp_path / "a.png", image)), (200, 10, 20), tolerance=0)


def test_exif_orientation_6_turns_the_image_and_its_size(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize(("orientation", "hw"), [(1, (8, 16)), (3, (8, 16)), (6, (16, 8)), (8, (16, 8)), (99, (8, 16))])
def test_image_hw_agrees_with_the_decoded_image(
    tmp_path: Path, name: str, orientation: int, hw: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, Image.new("RGB", (16, 8)), exif=exif)
    assert image_hw(path) == hw
    assert read_image(path).shape[:2] == hw


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_size_of_a_png_is_read_without_decoding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (16, 8)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert image_hw(path) == (8, 16)


def test_exif_behind_the_pixels_of_a_png_is_seen(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (16, 8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    head, tail = path.read_bytes()[:-12], path.read_bytes()[-12:]
    path.write_bytes(head + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\x00\x00")) + tail)
    assert read_image(path).shape[:2] == (16, 8)
    assert image_hw(path) == (16, 8)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_keep_their_greys(tmp_path: Path, name: str) -> None:
    grey = np.array([[0, 257, 32768, 65535]], np.uint16)
    image = read_image(save(tmp_path / name, Image.fromarray(grey)))
    assert image.tolist() == [[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]


def test_32_bits_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.new("F", (4, 3), 0.5))
    with pytest.raises(DataError, match=r"a\.tif: 32 bits a channel"):
        read_image(path)


def test_a_page_of_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *args, **kwargs: pytest.fail("started"))
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(DataError, match=r"a\.jpg: not an image that can be read"):
        read_image(path)


def test_truncated_jpeg_has_a_size_but_cannot_be_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    path = save(tmp_path / "a.jpg", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:2000])
    assert image_hw(path) == (64, 48)
    with pytest.raises(DataError, match=r"a\.jpg: the image is truncated or damaged"):
        read_image(path)


def test_missing_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: image not found"):
        read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff"])
def test_no_image_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: not an image that can be read"):
        image_hw(path)


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 11)
    path = save(tmp_path / "a.png", Image.new("L", (4, 3)))
    with pytest.raises(DataError, match="4 x 3 pixels, more than the 11 allowed"):
        image_hw(path)

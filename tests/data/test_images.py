"""Images of every mode become RGB; broken ones are named."""

from __future__ import annotations

import importlib
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features
from PIL.TiffImagePlugin import II, MM, OPEN_INFO
from tiff_files import Key, tiff_bytes

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


ORIENTATION, MAKE, X_RESOLUTION, EXIF_IFD = 0x0112, 0x010F, 0x011A, 0x8769
BYTE, ASCII, SHORT, LONG, RATIONAL = 1, 2, 3, 4, 5


def exif_bytes(*tags: tuple[int, int, int, bytes], after: bytes = b"") -> bytes:
    """EXIF with tags ``(tag, type, count, 4 bytes)`` in the first directory, and further bytes behind it."""
    directory = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3].ljust(4, b"\0") for tag in tags)
    return b"Exif\0\0II" + struct.pack("<HIH", 42, 8, len(tags)) + directory + b"\0\0\0\0" + after


SIX = (ORIENTATION, SHORT, 1, b"\x06\0")
BEHIND = struct.pack("<I", 8 + 2 + 2 * 12 + 4)
ODD_TAGS = {
    "a number of seven bytes": exif_bytes((MAKE, RATIONAL, 1, BEHIND), SIX, after=struct.pack("<II", 1, 2)),
    "a divisor of 0": exif_bytes((X_RESOLUTION, RATIONAL, 1, BEHIND), SIX, after=struct.pack("<II", 1, 0)),
    "text for a number": exif_bytes((X_RESOLUTION, ASCII, 4, b"72\0\0"), SIX),
    "a number for text": exif_bytes((MAKE, SHORT, 1, b"\x07\0"), SIX),
    "a type that there is not": exif_bytes((MAKE, 99, 1, b""), SIX),
    "a value beyond the end": exif_bytes((MAKE, ASCII, 99, struct.pack("<I", 60_000)), SIX),
    "a count beyond all": exif_bytes((MAKE, ASCII, 2**32 - 1, BEHIND), SIX),
    "a directory beyond the end": exif_bytes((EXIF_IFD, LONG, 1, struct.pack("<I", 60_000)), SIX),
    "a directory that is itself": exif_bytes((EXIF_IFD, LONG, 1, struct.pack("<I", 8)), SIX),
    "a directory that is text": exif_bytes((EXIF_IFD, ASCII, 4, b"abc\0"), SIX),
    "an exposure bias of 1/0": exif_bytes(
        (EXIF_IFD, LONG, 1, BEHIND),
        SIX,
        after=struct.pack("<HHHIIIII", 1, 0x9204, 10, 1, struct.unpack("<I", BEHIND)[0] + 18, 0, 1, 0),
    ),
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("exif", ODD_TAGS.values(), ids=ODD_TAGS)
def test_odd_tags_harm_nothing(tmp_path: Path, exif: bytes, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", Image.new("RGB", (16, 8), (200, 10, 20)), exif=exif)
    assert image_hw(path) == (16, 8)
    assert read_image(path).shape == (16, 8, 3)
    assert_pixel(read_image(path), (200, 10, 20), tolerance=6)


@pytest.mark.parametrize(
    "tags",
    [
        [(ORIENTATION, ASCII, 2, b"6\0")],
        [(ORIENTATION, SHORT, 1, b"\0\0")],
        [(ORIENTATION, SHORT, 1, b"\xff\xff")],
        [(ORIENTATION, 11, 1, struct.pack("<f", float("nan")))],
        [(ORIENTATION, 99, 1, b"\x06\0")],
        [],
    ],
)
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, tags: list[tuple[int, int, int, bytes]]) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (16, 8)), exif=exif_bytes(*tags))
    assert image_hw(path) == read_image(path).shape[:2] == (8, 16)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*", b"Exif\0\0XX*\0\x08\0\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff"]
)
def test_broken_tags_harm_nothing(tmp_path: Path, exif: bytes) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (16, 8)), exif=b"Exif\0\0" + exif)
    assert image_hw(path) == read_image(path).shape[:2] == (8, 16)


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


GREY, WHITE_IS_ZERO, RGB = 1, 0, 2


@pytest.mark.parametrize(
    ("key", "pixels", "levels"),
    [
        ((II, GREY, (1,), 1, (16,), ()), "<4H", [0, 128, 255, 16]),
        ((MM, GREY, (1,), 1, (16,), ()), ">4H", [0, 128, 255, 16]),
        ((II, WHITE_IS_ZERO, (1,), 1, (16,), ()), "<4H", [255, 127, 0, 239]),
    ],
)
def test_16_bits_of_a_tiff(tmp_path: Path, key: Key, pixels: str, levels: list[int]) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_bytes(key, (4, 1), struct.pack(pixels, 0, 32896, 65535, 4112)))
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == levels


def test_12_bits_of_a_tiff(tmp_path: Path) -> None:
    key: Key = (II, GREY, (1,), 1, (12,), ())
    (tmp_path / "a.tif").write_bytes(tiff_bytes(key, (2, 1), b"\xff\xf8\x08"))  # 4095 and 2056
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 128]


def opencv(path: Path) -> np.ndarray | None:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else image[..., ::-1].astype(int)


def has_alpha(key: Key) -> bool:
    """Whether OpenCV darkens the pixels by it."""
    return key[1] == RGB and bool(set(key[5]) & {1, 2, 999})


def test_every_mode_of_a_tiff_is_read_as_by_opencv(tmp_path: Path) -> None:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    path, compared = tmp_path / "a.tif", 0
    for key in OPEN_INFO:
        path.write_bytes(tiff_bytes(key))
        expected = opencv(path)
        if expected is None or has_alpha(key) or OPEN_INFO[key][0] == "LAB":  # LAB has several conversions
            continue
        try:
            image = read_image(path)
        except DataError:
            continue  # those that are refused are below
        assert np.abs(image - expected).max() <= 1, key
        compared += 1
    assert compared >= 50


@pytest.mark.parametrize("key", [(II, 1, (2,), 1, (16,), ()), (II, 1, (3,), 1, (32,), ()), (MM, 1, (2,), 1, (32,), ())])
def test_numbers_without_a_known_white_are_refused(tmp_path: Path, key: Key) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_bytes(key))
    with pytest.raises(DataError, match=r"a\.tif: signed or 32-bit numbers, whose black and white are not known"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".jfif", ".webp", ".jp2", ".tif"])
def test_every_mode_of_other_formats_is_read_as_by_opencv(tmp_path: Path, suffix: str, mode: str) -> None:
    """Transparency apart, which OpenCV ignores too, but with other colours below it."""
    coarse = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    image = Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    made = Image.fromarray(grey) if mode == "I;16" else image.convert(mode)
    try:
        path = save(tmp_path / f"a{suffix}", made, **({"format": "JPEG"} if suffix == ".jfif" else {}))
    except (OSError, KeyError):
        return  # no such format has the mode
    expected = opencv(path)
    if expected is None or (suffix, mode) == (".jp2", "CMYK"):
        return
    assert np.abs(read_image(path) - expected).max() <= (2 if mode == "CMYK" else 1)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.avif", Image.new("RGB", (16, 8), (200, 10, 20)))
    assert image_hw(path) == (8, 16)
    assert_pixel(read_image(path), (200, 10, 20), tolerance=4)


def test_a_stereo_photo_is_its_first_image(tmp_path: Path) -> None:
    left, right = Image.new("RGB", (16, 8), (200, 10, 20)), Image.new("RGB", (16, 8), (10, 20, 200))
    path = tmp_path / "a.jpg"
    left.save(path, "MPO", save_all=True, append_images=[right])
    assert image_hw(path) == (8, 16)
    assert_pixel(read_image(path), (200, 10, 20))


def test_32_bits_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.new("F", (4, 3), 0.5))
    with pytest.raises(DataError, match=r"a\.tif: signed or 32-bit numbers"):
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


ERRORS = [
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
]


@pytest.mark.parametrize("where", ["open", "Image.load", "Image.convert"])
@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_decoder_raises_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("odd")

    path = save(tmp_path / "a.bmp", Image.new("RGB", (16, 8)))
    monkeypatch.setattr(f"PIL.Image.{where}", fail)
    with pytest.raises(DataError, match=r"a\.bmp: the image is truncated or damaged \(.*\); replace or remove it"):
        read_image(path)


def test_a_pointer_of_git_lfs_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match=r"a\.jpg: a Git LFS pointer, not the file itself; run git lfs pull"):
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


def test_ultralytics_looks_for_no_packages_when_a_file_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once it is imported, ``Image.open`` is its own, which does."""
    importlib.import_module("ultralytics.utils.patches")
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.jpg: not an image"):
        read_image(tmp_path / "a.jpg")
    assert caplog.records == []

"""Reading images: any mode (grey, palette, CMYK, 16 bits), EXIF rotation applied, broken files named."""

from __future__ import annotations

import os
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from spikedet.common.errors import DataError
from spikedet.common.pointers import lfs_pointer

MAX_PIXELS = 100_000_000
"""Images above this many pixels are refused: a guard against decompression bombs."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif", ".jp2")
"""File endings taken for images where a folder is searched, in lower case; the earlier wins."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000")
"""What a file may hold, whatever its ending; Pillow's others are not tried (its EPS starts another program)."""

_EXIF_ORIENTATION, _SHORT = 0x0112, 3
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_PHOTOMETRIC = 256, 257, 258, 262
_WHITE_IS_ZERO = 0
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRANSPOSING = frozenset({5, 6, 7, 8})
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def open_image(source: Path | IO[bytes], formats: tuple[str, ...]) -> Image.Image:
    """``Image.open`` of Pillow itself: ultralytics' looks for further packages, and says so, when a file is damaged."""
    ultralytics = sys.modules.get("ultralytics.utils.patches")
    replaced = ultralytics is not None and Image.open is ultralytics.image_open
    opened: Image.Image = (ultralytics._image_open if replaced else Image.open)(source, formats=formats)  # type: ignore[union-attr]
    return opened


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as RGB; of a file with several images, such as a stereo photo, the first.

    Returns:
        uint8 ``[H, W, 3]``, rotated as its EXIF says. Transparency is ignored.

    Raises:
        DataError: the file is missing, not an image, truncated, larger than ``MAX_PIXELS``, or its numbers are signed
            or of 32 bits.
    """
    with _opened(path) as image:
        if image.mode in ("I", "F"):
            what = "signed or 32-bit numbers, whose black and white are not known"
            raise DataError(f"{path}: {what}; save it with 8 or 16 bits")
        with _decoding(path):
            orientation = _orientation(image)
            image.load()
            method = None if isinstance(image, TiffImageFile) else _UPRIGHT.get(orientation)  # Pillow turns a TIFF
            upright = image if method is None else image.transpose(method)
            if upright.mode.startswith("I;16"):
                return _from_16_bits(np.asarray(upright), image)
            return np.asarray(upright.convert("RGB"))


def image_hw(path: Path) -> tuple[int, int]:
    """Height and width after EXIF rotation, without decoding the image. Raises DataError like ``read_image``."""
    with _opened(path) as image, _decoding(path):
        width, height = image.size
        if isinstance(image, TiffImageFile):  # Pillow tells its size after rotation
            width, height = int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_HEIGHT])
        rotated = _orientation(image) in _TRANSPOSING
    return (width, height) if rotated else (height, width)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8. It alone is read: other tags may be of any type, value and place.

    Pillow decodes a PNG whole for its EXIF, in case more chunks follow the pixels; few have any.
    """
    if isinstance(image, PngImageFile) and _goes_on_after_pixels(image):
        image.load()
    try:
        if (found := _orientation_in(image.info.get("exif", b""))) is not None:
            return found
        other = Image.Image if isinstance(image, PngImageFile) else type(image)
        exif = other.getexif(image)  # other places: a TIFF's directory, a PNG's text, XMP
        orientation = exif.get(_EXIF_ORIENTATION)
    except Exception:  # the pixels can be read all the same
        return 1
    known = orientation if isinstance(orientation, int) and orientation in _UPRIGHT else 1
    for tag in [tag for tag in exif if known == 1 or tag != _EXIF_ORIENTATION]:
        del exif[tag]  # Pillow decodes a TIFF's with its pixels
    return known


def _orientation_in(exif: bytes) -> int | None:
    """The orientation in the first directory of EXIF; None if it has none. Raises struct.error or KeyError."""
    tiff = exif.removeprefix(b"Exif\0\0")
    if not tiff:
        return None
    endian = {b"II": "<", b"MM": ">"}[tiff[:2]]
    (first,) = struct.unpack_from(f"{endian}I", tiff, 4)
    (count,) = struct.unpack_from(f"{endian}H", tiff, first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from(f"{endian}HHIH", tiff, entry)
        if tag == _EXIF_ORIENTATION and kind == _SHORT:
            return value if value in _UPRIGHT else 1
    return None


def _goes_on_after_pixels(image: PngImageFile) -> bool:
    """Whether a PNG has chunks between its last IDAT and its IEND, found by skipping from chunk to chunk."""
    with open(image.filename, "rb") as file:
        file.seek(len(_PNG_SIGNATURE))
        pixels = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if pixels and kind not in (b"IDAT", b"IEND"):
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _from_16_bits(grey: npt.NDArray[np.uint16], image: Image.Image) -> npt.NDArray[np.uint8]:
    """``[H, W]`` in 0..65535 (0..4095 of a TIFF with 12 bits) as ``[H, W, 3]`` in 0..255."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    most = 2 ** tags.get(_TIFF_BITS, (16,))[0] - 1
    levels = np.rint(grey.astype(np.float32) * (255 / most)).astype(np.uint8)
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts fewer bits, but not these
        levels = 255 - levels
    return np.repeat(levels[..., None], 3, axis=2)


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"{path}: image not found; check the path or the annotation that names it")
    with _decoding(path):
        image = open_image(path, FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"{path}: {image.width} x {image.height} pixels, more than the {MAX_PIXELS} allowed")
    return image


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """The one place where a decoder's exceptions become ours: damaged files make it raise any of them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata
            yield
    except (UnidentifiedImageError, ImportError) as error:  # ultralytics makes PIL look for plug-ins
        expected = "not an image that can be read; expected JPEG, PNG, BMP, WebP, TIFF, AVIF or JPEG 2000"
        raise DataError(f"{path}: {lfs_pointer(path) or expected}") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: more pixels than the {MAX_PIXELS} allowed") from error
    except Exception as error:
        reason = "not enough memory" if isinstance(error, MemoryError) else error
        raise DataError(f"{path}: the image is truncated or damaged ({reason}); replace or remove it") from error

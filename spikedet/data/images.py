"""Reading images: any mode (grey, palette, CMYK, 16 bits), EXIF rotation applied, broken files named."""

from __future__ import annotations

import os
import struct
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from spikedet.common.errors import DataError

MAX_PIXELS = 100_000_000
"""Images above this many pixels are refused: a guard against decompression bombs."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jfif")
"""File endings taken for images where a folder is searched, in lower case; the earlier wins."""

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
"""What a file may hold, whatever its ending; Pillow's others are not tried (its EPS starts another program)."""

_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TRANSPOSING = frozenset({5, 6, 7, 8})
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DAMAGE = (KeyError, OSError, SyntaxError, ValueError, EOFError, struct.error)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as RGB.

    Returns:
        uint8 ``[H, W, 3]``, rotated as its EXIF says.

    Raises:
        DataError: the file is missing, not an image, truncated, larger than ``MAX_PIXELS`` or of 32 bits a channel.
    """
    with _opened(Path(path)) as image:
        if image.mode in ("I", "F"):
            raise DataError(f"{path}: 32 bits a channel, whose black and white are not known; save it with 8 or 16")
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                return _from_16_bits(np.asarray(upright))
            return np.asarray(upright.convert("RGB"))
        except _DAMAGE as error:
            raise _damaged(path, error) from error


def image_hw(path: Path) -> tuple[int, int]:
    """Height and width after EXIF rotation, without decoding the image. Raises DataError like ``read_image``."""
    with _opened(Path(path)) as image:
        try:
            width, height = _stored_size(image)
            rotated = _orientation(image) in _TRANSPOSING
        except _DAMAGE as error:
            raise _damaged(path, error) from error
    return (width, height) if rotated else (height, width)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before rotation; of a TIFF Pillow itself tells those after it."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_HEIGHT])
    return image.size


def _orientation(image: Image.Image) -> int | None:
    """The EXIF orientation. Pillow decodes a PNG whole for it, in case more chunks follow the pixels; few have any."""
    if isinstance(image, PngImageFile) and not _goes_on_after_pixels(image):
        return Image.Image.getexif(image).get(_EXIF_ORIENTATION)
    return image.getexif().get(_EXIF_ORIENTATION)


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


def _from_16_bits(grey: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """``[H, W]`` in 0..65535 as ``[H, W, 3]`` in 0..255."""
    levels = np.rint(grey.astype(np.float32) / 257).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: the image is truncated or damaged ({error}); replace or remove it")


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"{path}: image not found; check the path or the annotation that names it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
    except (UnidentifiedImageError, ImportError) as error:  # ultralytics makes PIL look for plug-ins
        raise DataError(f"{path}: not an image that can be read; expected JPEG, PNG, BMP, WebP or TIFF") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: the image cannot be opened ({error})") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"{path}: {image.width} x {image.height} pixels, more than the {MAX_PIXELS} allowed")
    return image

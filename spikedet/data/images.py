"""Reading pictures: any mode (grey, palette, CMYK), EXIF rotation applied, broken files named."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from spikedet.errors import DataError

MAX_PIXELS = 100_000_000
"""Pictures above this many pixels are refused: a guard against decompression bombs."""

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""File endings taken for pictures where a folder is searched, in lower case; the earlier wins."""

_EXIF_ORIENTATION = 0x0112
_TRANSPOSING = frozenset({5, 6, 7, 8})
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read a picture as RGB.

    Returns:
        uint8 ``[H, W, 3]``, rotated as its EXIF says.

    Raises:
        DataError: the file is missing, not a picture, truncated or larger than ``MAX_PIXELS``.
    """
    with _opened(Path(path)) as image:
        try:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except _DAMAGE as error:
            raise _damaged(path, error) from error


def image_hw(path: Path) -> tuple[int, int]:
    """Height and width after EXIF rotation, from the header alone. Raises DataError like ``read_image``."""
    with _opened(Path(path)) as image:
        width, height = image.size
        try:
            rotated = image.getexif().get(_EXIF_ORIENTATION) in _TRANSPOSING
        except _DAMAGE as error:
            raise _damaged(path, error) from error
    return (width, height) if rotated else (height, width)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: the picture is truncated or damaged ({error}); replace or remove it")


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"{path}: picture not found; check the path or the annotation that names it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except (UnidentifiedImageError, ImportError) as error:  # ultralytics makes PIL look for plug-ins
        raise DataError(f"{path}: not a picture that can be read; expected JPEG, PNG, BMP, WebP or TIFF") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: the picture cannot be opened ({error})") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"{path}: {image.width} x {image.height} pixels, more than the {MAX_PIXELS} allowed")
    return image

"""TIFF files of any mode, written by hand: Pillow writes few of those that it reads."""

from __future__ import annotations

import struct

import numpy as np
from PIL.TiffImagePlugin import II

Key = tuple[bytes, int, tuple[int, ...], int, tuple[int, ...], tuple[int, ...]]
"""Byte order, photometric interpretation, sample format, fill order, bits a sample, extra samples; as in Pillow."""

SHORT, LONG = 3, 4
CODES = {SHORT: "H", LONG: "I"}


def tiff_bytes(key: Key, resolution_wh: tuple[int, int] = (16, 8), pixels: bytes = b"") -> bytes:
    """An uncompressed TIFF of one strip; the pixels are noise unless given."""
    order, photometric, formats, fill, bits, extra = key
    endian = "<" if order == II else ">"
    width, height = resolution_wh
    rng = np.random.default_rng(0)
    content = pixels or rng.integers(0, 256, height * ((width * sum(bits) + 7) // 8), np.uint8).tobytes()
    tags = [
        (256, SHORT, [width]),
        (257, SHORT, [height]),
        (258, SHORT, list(bits)),
        (259, SHORT, [1]),
        (262, SHORT, [photometric]),
        (266, SHORT, [fill]),
        (273, LONG, [0]),  # where the strip begins, filled in below
        (277, SHORT, [len(bits)]),
        (278, SHORT, [height]),
        (279, LONG, [len(content)]),
    ]
    if photometric == 3:
        tags.append((320, SHORT, rng.integers(0, 65536, 3 * 2 ** bits[0]).tolist()))
    if extra:
        tags.append((338, SHORT, list(extra)))
    if formats != (1,):
        tags.append((339, SHORT, list(formats)))
    after = 8 + 2 + 12 * len(tags) + 4
    long_ones = {tag: struct.pack(endian + CODES[kind] * len(v), *v) for tag, kind, v in tags}
    long_ones = {tag: packed for tag, packed in long_ones.items() if len(packed) > 4}
    strip = after + sum(map(len, long_ones.values()))
    directory = b""
    for tag, kind, values in tags:
        if tag in long_ones:
            value = struct.pack(endian + "I", after)
            after += len(long_ones[tag])
        else:
            value = struct.pack(endian + CODES[kind] * len(values), *([strip] if tag == 273 else values))
        directory += struct.pack(endian + "HHI", tag, kind, len(values)) + value.ljust(4, b"\0")
    head = order + struct.pack(endian + "HIH", 42, 8, len(tags))
    return head + directory + b"\0\0\0\0" + b"".join(long_ones.values()) + content

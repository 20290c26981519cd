"""Twenty files that are not what their names say."""

from __future__ import annotations

import gzip
import io
import zipfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def encoded(kind: str, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = NOISE, **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **how)  # type: ignore[arg-type]
    return buffer.getvalue()


def video(folder: Path) -> bytes:
    """Half a second of MPEG-4, whole."""
    path = folder / "whole.mp4"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 120))
    for shift in range(5):
        writer.write(np.roll(NOISE, 7 * shift, 1))
    writer.release()
    return path.read_bytes()


@cache
def broken_images() -> dict[str, bytes]:
    """Sixteen, by name."""
    jpeg, png = encoded("JPEG"), encoded("PNG")
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    animation, archive = io.BytesIO(), io.BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("image.png", png)
    return {
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "empty.jpg": b"",
        "text.jpg": b"hello, I am no image",
        "wide.png": encoded("PNG", np.zeros((2, 20_000), np.uint8)),
        "animation.gif": animation.getvalue(),
        "bomb.png": encoded("PNG", np.zeros((11_000, 11_000), np.bool_).view(np.uint8)),
        "header.png": png[:33],
        "damaged.png": png[: len(png) // 2] + bytes(len(png) - len(png) // 2),
        "half.gif": encoded("GIF")[:400],
        "half.webp": encoded("WEBP")[:200],
        "half.bmp": encoded("BMP")[:500],
        "document.jpg": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
        "page.png": b"<!doctype html><script>alert(1)</script>",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "archive.png": archive.getvalue(),
        "packed.jpg": gzip.compress(jpeg),
    }


def broken_videos(folder: Path) -> dict[str, bytes]:
    """Four, by name."""
    whole = video(folder)
    return {
        "cut.mp4": whole[: len(whole) // 2],
        "empty.mp4": b"",
        "text.mp4": b"hello, I am no video",
        "noise.webm": NOISE.tobytes(),
    }

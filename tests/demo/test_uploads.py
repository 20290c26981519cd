"""What is refused, and in which words."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from broken_uploads import broken_images
from PIL import Image

from spikedet.common.errors import DataError
from spikedet.demo import uploads
from spikedet.demo.uploads import MAX_SIDE, stored_name, uploaded_image

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def jpeg(path: Path) -> Path:
    Image.fromarray(PIXELS).save(path)
    return path


def test_an_image_comes_through(tmp_path: Path) -> None:
    assert np.array_equal(uploaded_image(jpeg(tmp_path / "a.png")), PIXELS)


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
    """An MPO, as phones and stereo cameras write it under the name of a JPEG, holds a second view."""
    other = Image.fromarray(255 - PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / "stereo.jpg", "MPO", save_all=True, append_images=[other], quality=95)
    shown = uploaded_image(tmp_path / "stereo.jpg")
    Image.fromarray(PIXELS).save(tmp_path / "first.jpg", quality=95)
    assert np.array_equal(shown, uploaded_image(tmp_path / "first.jpg"))


def test_the_first_page_of_a_scan_is_the_image(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(255 - PIXELS)])
    assert np.array_equal(uploaded_image(tmp_path / "a.tif"), PIXELS)


def test_a_decoder_that_fails_at_the_head_leaves_the_word_to_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise IndexError

    path = jpeg(tmp_path / "a.png")
    monkeypatch.setattr(uploads.Image, "open", fail)
    monkeypatch.setattr(uploads, "read_image", lambda path: PIXELS)
    assert np.array_equal(uploaded_image(path), PIXELS)


def test_large_images_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (10_000, 5_001)).save(tmp_path / "large.png")
    monkeypatch.setattr(uploads, "read_image", None)
    with pytest.raises(DataError, match=r"^large\.png: 10000 x 5001 pixels; an image may have 50 million"):
        uploaded_image(tmp_path / "large.png")


def test_large_images_are_kept_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_KEPT_PIXELS", 300)
    assert uploaded_image(jpeg(tmp_path / "a.png")).shape == (15, 20, 3)


def test_one_image_is_decoded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that visitors cannot fill the memory together with images that each one is allowed."""
    at_once: list[bool] = []

    def read(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        at_once.append(uploads._decoding.locked())
        time.sleep(0.02)
        at_once.append(uploads._decoding.locked())
        return PIXELS

    monkeypatch.setattr(uploads, "read_image", read)
    path = jpeg(tmp_path / "a.png")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(uploaded_image, [path] * 4))
    assert at_once == [True] * 8 and not uploads._decoding.locked()


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("a b.jpg", "a b.jpg"),
        ("C:\\fakepath\\a.jpg", "a.jpg"),
        ("../../etc/passwd", "passwd"),
        ("/", "upload"),
        ("", "upload"),
        ("..", "upload"),
        (".jpg", "jpg"),
        ("a\n\x1b[31m.jpg", "a__[31m.jpg"),
        ("%05d.jpg", "_05d.jpg"),
        ("ü" * 300 + ".jpeg", "ü" * 40 + ".jpeg"),
        ("a." + "x" * 300, "a.xxxxxxxx"),
        ("写真.png", "写真.png"),
    ],
)
def test_names_of_stored_files(name: str, stored: str) -> None:
    assert stored_name(name) == stored


def test_a_side_as_long_as_allowed(tmp_path: Path) -> None:
    Image.new("L", (MAX_SIDE, 2)).save(tmp_path / "wide.png")
    assert uploaded_image(tmp_path / "wide.png").shape == (2, MAX_SIDE, 3)

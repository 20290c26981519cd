"""Images without splits in three parts: seeded, with what is alike in one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from spikedet.common.errors import ConfigError
from spikedet.data.division import DUPLICATE_BITS, alike, difference_hash, digest, divide, parse_fractions

FRACTIONS = (0.8, 0.1, 0.1)


def write(path: Path, seed: int, wh: tuple[int, int] = (96, 64)) -> Path:
    """An image of large soft spots, which differ from seed to seed."""
    spots = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cv2.resize(spots, wh, interpolation=cv2.INTER_CUBIC)).save(path)
    return path


def images(folder: Path, names: list[str], first: int = 0) -> dict[str, Path]:
    return {name: write(folder / name, first + seed) for seed, name in enumerate(names)}


def test_no_images() -> None:
    assert divide({}, FRACTIONS) == ({"train": (), "val": (), "test": ()}, "")
    assert alike([], []) == []


@pytest.mark.parametrize(
    ("count", "parts"), [(1, (1, 0, 0)), (4, (4, 0, 0)), (5, (5, 0, 0)), (10, (8, 1, 1)), (40, (32, 4, 4))]
)
def test_counts(tmp_path: Path, count: int, parts: tuple[int, int, int]) -> None:
    made = images(tmp_path, [f"{chr(97 + i % 26)}{i // 26}x.png" for i in range(count)])
    division, remark = divide(made, FRACTIONS)
    assert tuple(map(len, division.values())) == parts
    assert sorted(name for names in division.values() for name in names) == sorted(made)
    assert remark == ""
    assert divide(dict(reversed(made.items())), FRACTIONS) == (division, "")  # not by the order of files
    if count == 40:
        assert divide(made, FRACTIONS, seed=1)[0] != division


def test_near_duplicates_stay_together(tmp_path: Path) -> None:
    """Saved anew, resized and brightened under names that say nothing."""
    made = images(tmp_path, [f"{chr(97 + i)}.png" for i in range(20)])
    for index, name in enumerate(list(made)):
        with Image.open(made[name]) as image:
            copies = (image.resize((70, 50)), ImageEnhance.Brightness(image).enhance(1.1), image)
            for copy, ending in zip(copies, (".png", ".webp", ".jpg"), strict=True):
                made[f"{chr(122 - index)}z{ending}"] = path = tmp_path / f"{chr(122 - index)}z{ending}"
                copy.save(path, quality=60)
    hashes = {name: difference_hash(path) for name, path in made.items()}
    assert len(alike(list(hashes), list(hashes.values()))) == 20
    division, _ = divide(made, FRACTIONS)
    assert [len(names) for names in division.values()] == [64, 8, 8]


def test_other_images_are_far_apart(tmp_path: Path) -> None:
    found = [difference_hash(write(tmp_path / f"{seed}.png", seed)) for seed in range(30)]
    assert min((a ^ b).bit_count() for i, a in enumerate(found) for b in found[:i]) > DUPLICATE_BITS  # type: ignore[operator]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["a/x.rf.0123456789abcdef01.jpg", "a/x.rf.fedcba9876543210ab.jpg", "a/y.jpg"], 2),
        (["a_mp4-1_jpg.rf.0123456789abcdef01.jpg", "a_mp4-22_jpg.rf.fedcba9876543210ab.jpg", "b.jpg"], 2),
        (["v1_frame_1.jpg", "v1_frame_900.jpg", "v2_frame_1.jpg"], 2),
        (["frame_1.jpg", "frame_2.jpg", "frame_3.jpg"], 3),  # one video: only images that are alike are together
        (["a/x.jpg", "a/x.png", "b/x.jpg"], 2),
        (["raccoon-1.jpg", "raccoon-2.jpg", "raccoon-3.jpg"], 3),
    ],
)
def test_names_that_belong_together(names: list[str], groups: int) -> None:
    hashes = [index * 0x1234567890ABCDE for index in range(len(names))]
    assert len(alike(names, hashes)) == groups


def test_neighbours_that_look_alike_are_of_one_video() -> None:
    """Eight bits from one to the next: no duplicates, and far apart after a few; a cut ends the video."""
    hashes = [(1 << (8 * n)) - 1 for n in range(8)]
    names = [f"clip{n:03d}.jpg" for n in range(8)]
    assert len(alike(names, hashes)) == 1
    assert len(alike([f"{letter}.jpg" for letter in "abcdefgh"], hashes)) == 8
    assert len(alike([*names, "clip008.jpg"], [*hashes, 0x5555555555555555])) == 2
    assert len(alike(names, [None] * 8)) == 8


def test_one_video_is_cut(tmp_path: Path) -> None:
    made = {f"f{n:03d}.png": write(tmp_path / f"{n}.png", 0) for n in range(20)}
    division, remark = divide(made, FRACTIONS)
    assert [len(names) for names in division.values()] == [16, 2, 2]
    assert remark == "20 of 20 images are alike or of one video; the parts are cut out of them"
    assert division["test"] == ("f018.png", "f019.png")


def test_a_broken_image_has_no_hash(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    assert difference_hash(tmp_path / "a.jpg") is None


@pytest.mark.parametrize(
    ("text", "fractions"),
    [("0.8,0.1,0.1", (0.8, 0.1, 0.1)), ("70, 0, 30", (0.7, 0, 0.3)), ("1,1,2", (0.25, 0.25, 0.5))],
)
def test_fractions(text: str, fractions: tuple[float, ...]) -> None:
    assert parse_fractions(text) == pytest.approx(fractions)


@pytest.mark.parametrize("text", ["", "0.8", "0.8,0.2", "a,b,c", "0,1,1", "1,-1,1", "nan,1,1", "inf,1,1", "1,2,3,4"])
def test_fractions_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--fractions must be three numbers for train, val and test"):
        parse_fractions(text)


def test_digests_hide_the_name() -> None:
    assert len(digest("images/a.jpg")) == 12 and "a.jpg" not in digest("images/a.jpg")
    assert digest("\udcff.jpg") != digest("a.jpg")

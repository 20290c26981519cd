"""Images without splits divided into train, val and test: by image, seeded, alike images in one part.

Alike are near-duplicates (by a difference hash of 64 bits), frames of one video (by name, or neighbours in their
numbering that look alike) and the copies that an augmentation made of one image.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from spikedet.common.errors import ConfigError, DataError
from spikedet.common.progress import track
from spikedet.data.dataset import Division
from spikedet.data.images import IMAGE_SUFFIXES, read_image

PARTS = ("train", "val", "test")
FRACTIONS = "0.8,0.1,0.1"
SEED = 0
"""Of every division: networks of several seeds are trained and evaluated on the same parts."""

DUPLICATE_BITS = 4
NEIGHBOUR_BITS = 10
"""Hashes that differ in at most so many of 64 bits are of one image, or of neighbours in one video."""

_BLOCK = 2048
_AUGMENTED = re.compile(r"\.rf\.[0-9a-zA-Z]{16,}$")
_FRAME = re.compile(r"^(.*?(?:[_.-](?:mp4|mov|avi|mkv|webm)|[_.-]?(?:frame|frm)))[_.-]?(\d+)\D*$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(.*?)(\d+)(\D*)$")


def parse_fractions(text: str, setting: str = "--fractions") -> tuple[float, float, float]:
    """``"0.8,0.1,0.1"`` or ``"80,10,10"`` to fractions of train, val and test. Raises ConfigError, which names it."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 <= number < 1e9 for number in numbers) or not numbers[0]:
        raise ConfigError(f"{setting} must be three numbers for train, val and test, such as {FRACTIONS}, got {text!r}")
    return numbers[0] / sum(numbers), numbers[1] / sum(numbers), numbers[2] / sum(numbers)


def divide(images: Mapping[str, Path], fractions: Sequence[float], seed: int = SEED) -> tuple[Division, str]:
    """Divide images into ``PARTS``.

    Args:
        images: the file of each, by image id.
        fractions: of train, val and test.
        seed: of the draw.

    Returns:
        The image ids of each part, sorted, and a remark where alike images could not stay together, or "".
    """
    ids = sorted(images)
    hashes = [difference_hash(images[name]) for name in track(ids, "comparing images")]
    groups = alike(ids, hashes)
    wanted = {part: round(len(ids) * fraction) for part, fraction in zip(PARTS, fractions, strict=True)}
    order = np.random.default_rng(seed).permutation(len(groups))
    left = {part: wanted[part] for part in ("test", "val")}
    parts: dict[str, list[str]] = defaultdict(list)
    for index in order:
        group = groups[index]
        part = next((name for name, room in left.items() if len(group) <= room), "train")
        parts[part] += group
        if part in left:
            left[part] -= len(group)
    remark = ""
    for part in ("test", "val"):
        if wanted[part] and not parts[part]:
            largest = max(groups, key=len)
            own = [name for name in sorted(largest, key=_natural) if name in set(parts["train"])]
            parts[part] = own[len(own) - min(wanted[part], len(own) // 2) :]
            parts["train"] = [name for name in parts["train"] if name not in set(parts[part])]
            remark = f"{len(largest)} of {len(ids)} images are alike or of one video; the parts are cut out of them"
    return {part: tuple(sorted(parts[part])) for part in PARTS}, remark


def alike(ids: Sequence[str], hashes: Sequence[int | None]) -> list[list[str]]:
    """Groups of image ids that must stay together; an image without a hash is compared by its name alone."""
    group_of = np.arange(len(ids))

    def join(a: int, b: int) -> None:
        first, second = sorted((group_of[a], group_of[b]))
        if first != second:
            group_of[group_of == second] = first

    _join_by_name(ids, hashes, join)
    known = [index for index, value in enumerate(hashes) if value is not None]
    values = np.array([hashes[index] for index in known], np.uint64)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        rows, columns = np.nonzero(np.bitwise_count(block[:, None] ^ values[None, start:]) <= DUPLICATE_BITS)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                join(known[start + row], known[start + column])
    groups: dict[int, list[str]] = defaultdict(list)
    for group, name in zip(group_of.tolist(), ids, strict=True):
        groups[group].append(name)
    return list(groups.values())


def difference_hash(image: Path) -> int | None:
    """64 bits: whether each of 8 x 8 cells is brighter than its right neighbour. None for a broken image."""
    try:
        grey = cv2.cvtColor(read_image(image), cv2.COLOR_RGB2GRAY)
    except DataError:  # whoever reads the image says so
        return None
    cells: npt.NDArray[np.uint8] = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    bits = np.packbits(cells[:, 1:] > cells[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def digest(image_id: str) -> str:
    """What a checkpoint keeps of an image's name: enough to recognize it, too little to read it."""
    return hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _join_by_name(ids: Sequence[str], hashes: Sequence[int | None], join: Callable[[int, int], None]) -> None:
    first: dict[tuple[str, str], int] = {}
    numbered: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    videos = Counter(_video(name) for name in ids)
    for index, name in enumerate(ids):
        folder, stem = _folder_and_stem(name)
        plain = _AUGMENTED.sub("", stem)
        key = ("copies of", f"{folder}/{plain}")
        join(first.setdefault(key, index), index)
        video = _video(name)
        if video and videos[video] < len(ids):  # one video alone has to be cut
            join(first.setdefault(("video", video), index), index)
        elif found := _NUMBERED.match(plain):
            numbered[folder, found[1], found[3]].append((int(found[2]), index))
    for rows in numbered.values():
        rows.sort()
        for (_, a), (_, b) in pairwise(rows):
            one, other = hashes[a], hashes[b]
            if one is not None and other is not None and (one ^ other).bit_count() <= NEIGHBOUR_BITS:
                join(a, b)


def _video(name: str) -> str:
    folder, stem = _folder_and_stem(name)
    found = _FRAME.match(_AUGMENTED.sub("", stem))
    return f"{folder}/{found[1]}" if found else ""


def _folder_and_stem(name: str) -> tuple[str, str]:
    folder, _, file = name.rpartition("/")
    stem, dot, ending = file.rpartition(".")
    return folder, stem if f"{dot}{ending}".lower() in IMAGE_SUFFIXES else file


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]

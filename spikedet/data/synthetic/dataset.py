"""A seeded, self-made detection dataset: textured shapes on clutter, written in VOC layout.

The same parameters give the same bytes. Image ``i`` of a split depends on the seed, the split and ``i`` alone,
so a smaller dataset is the beginning of a larger one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from spikedet.common.errors import ConfigError, DataError, SpikedetError
from spikedet.common.files import atomic_folder
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES, Scene, render_scene

MARKER_NAME = "synthetic.json"

_GENERATOR_VERSION = 1  # raise it when the images change, so that an older folder is not reused
_MIN_SIDE_PX, _MAX_SIDE_PX = 64, 1024
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class SyntheticConfig:
    """How many images of which size. Raises ConfigError for a value outside its range."""

    train: int = 256
    val: int = 64
    test: int = 64
    image_hw: tuple[int, int] = (160, 160)
    seed: int = 0

    def __post_init__(self) -> None:
        for split, count in self.counts.items():
            if not 1 <= count <= 100_000:
                raise ConfigError(f"synthetic: {split}={count} is outside 1 to 100000")
        if not all(_MIN_SIDE_PX <= side <= _MAX_SIDE_PX for side in self.image_hw):
            sides = " x ".join(map(str, self.image_hw))
            raise ConfigError(f"synthetic: size {sides} is outside {_MIN_SIDE_PX} to {_MAX_SIDE_PX} pixels")
        if self.seed < 0:
            raise ConfigError(f"synthetic: seed={self.seed} is negative")

    @property
    def counts(self) -> dict[str, int]:
        """Images per split."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def folder_name(self) -> str:
        """A folder name that differs wherever the images would."""
        height, width = self.image_hw
        counts = "-".join(map(str, self.counts.values()))
        return f"synthetic-v{_GENERATOR_VERSION}-{height}x{width}-{counts}-seed{self.seed}"


def write_synthetic(root: Path, config: SyntheticConfig) -> Path:
    """Write the dataset to ``root``, or reuse it where it is already there with these parameters.

    The folder appears in one step when it is whole; an interrupted run leaves nothing under its name.

    Raises:
        DataError: ``root`` holds something else, or cannot be written.
    """
    if _is_complete(root, config):
        return root
    try:
        with atomic_folder(root, wait=True) as partial:
            _write_splits(partial, config)
    except SpikedetError as error:
        if not _is_complete(root, config):  # else another process was faster
            raise DataError(str(error)) from error
    return root


def _parameters(config: SyntheticConfig) -> dict[str, object]:
    return {
        "generator": _GENERATOR_VERSION,
        **config.counts,
        "image_hw": list(config.image_hw),
        "seed": config.seed,
        "class_names": list(SYNTHETIC_CLASS_NAMES),
    }


def _is_complete(root: Path, config: SyntheticConfig) -> bool:
    """True if the dataset is there, False if nothing is. Raises DataError for anything else."""
    try:
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            return False
        found = json.loads((root / MARKER_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != _parameters(config):
        raise DataError(f"{root}: holds something other than this synthetic dataset; choose another or remove it")
    return True


def _write_splits(root: Path, config: SyntheticConfig) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split_index, (split, count) in enumerate(config.counts.items()):
        names = [f"{split}_{index:06d}" for index in range(count)]
        for index, name in enumerate(names):
            scene = render_scene(np.random.default_rng([config.seed, split_index, index]), config.image_hw)
            ok, jpeg = cv2.imencode(".jpg", scene.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            if not ok:
                raise DataError(f"{root}: OpenCV could not encode a JPEG; check the opencv installation")
            (root / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg.tobytes())
            (root / "Annotations" / f"{name}.xml").write_text(_annotation(name, scene), encoding="utf-8")
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    (root / MARKER_NAME).write_text(json.dumps(_parameters(config), indent=1) + "\n", encoding="utf-8")


def _annotation(name: str, scene: Scene) -> str:
    """VOC XML; corners 1-based and inclusive."""
    height, width = scene.image_bgr.shape[:2]
    objects = "".join(
        f"\t<object>\n\t\t<name>{item.name}</name>\n\t\t<difficult>{int(item.difficult)}</difficult>\n"
        f"\t\t<bndbox><xmin>{item.box_xyxy[0] + 1}</xmin><ymin>{item.box_xyxy[1] + 1}</ymin>"
        f"<xmax>{item.box_xyxy[2]}</xmax><ymax>{item.box_xyxy[3]}</ymax></bndbox>\n\t</object>\n"
        for item in scene.objects
    )
    return (
        f"<annotation>\n\t<filename>{name}.jpg</filename>\n"
        f"\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n{objects}</annotation>\n"
    )

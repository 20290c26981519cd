"""The one dataset type: images with boxes, whatever layout they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spikedet.common.digests import file_sha256, json_sha256
from spikedet.common.errors import ConfigError
from spikedet.data.images import read_image
from spikedet.data.split_names import usual_split

Division = Mapping[str, tuple[str, ...]]
"""The images of each part that images without splits were divided into, by their paths within the folder."""


@dataclass(frozen=True)
class Sample:
    """One image and its objects.

    Attributes:
        image_id: unique within the dataset, for example ``"VOC2007/000012"``.
        image_path: the image's file.
        image_hw: height and width in pixels, after EXIF rotation.
        boxes_xyxy: float32 ``[N, 4]``, continuous pixel edges within the image.
        labels: int64 ``[N]``, index into the dataset's class names.
        difficult: bool ``[N]``; difficult objects are neither trained on nor evaluated.
        crowd: bool ``[N]``, COCO's ``iscrowd``: those of the difficult objects that represent many.
    """

    image_id: str
    image_path: Path
    image_hw: tuple[int, int]
    boxes_xyxy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]
    crowd: npt.NDArray[np.bool_]

    def objects_sha256(self) -> str:
        """Digest of boxes, labels and flags, 64 hex digits."""
        arrays = (self.boxes_xyxy, self.labels, self.difficult, self.crowd)
        return json_sha256([array.tolist() for array in arrays])


@dataclass(frozen=True)
class BoxIssues:
    """What was wrong with annotated boxes, with examples.

    Attributes:
        dropped: boxes without area.
        clipped: boxes partly outside their image.
        examples: a sentence for each.
        swapped: boxes whose corners were sorted.
    """

    dropped: int = 0
    clipped: int = 0
    examples: tuple[str, ...] = ()
    swapped: int = 0


@dataclass(frozen=True)
class DetectionDataset:
    """A named split: class names and samples. Images are read when asked for; nothing is ever written to it.

    ``division`` is what images without splits were divided into, None where the dataset has splits of its own.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    issues: BoxIssues = BoxIssues()
    division: Division | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def read_image(self, index: int) -> npt.NDArray[np.uint8]:
        """RGB ``[H, W, 3]`` uint8, EXIF rotation applied. Raises DataError for a broken image."""
        return read_image(self.samples[index].image_path)

    def image_facts(self) -> list[list[str]]:
        """Digests of every image's file and objects: what changes with images and boxes, wherever they lie."""
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(file_sha256, (sample.image_path for sample in self.samples)))
        return [[file, sample.objects_sha256()] for file, sample in zip(files, self.samples, strict=True)]

    def for_training(self) -> DetectionDataset:
        """The dataset itself. Raises ConfigError where its images are of a division's test part."""
        if self.division is not None and any(usual_split(part) == "test" for part in self.split.split("+")):
            raise ConfigError(
                f"--split {self.split}: the test part of {self.name} is for evaluation; use train, or train+val"
            )
        return self

    def subset(self, indices: Sequence[int], split: str | None = None) -> DetectionDataset:
        """The samples at these indices, in this order."""
        return replace(self, samples=tuple(self.samples[i] for i in indices), split=split or self.split)

    def hold_out(self, fraction: float, seed: int) -> tuple[DetectionDataset, DetectionDataset]:
        """Split off a seeded ``fraction`` (at least one sample where there are two): ``(rest, held_out)``."""
        rest, held = map(np.sort, self._split_off(fraction, seed))
        return self.subset(list(rest), f"{self.split}-rest"), self.subset(list(held), f"{self.split}-held-out")

    def draw(self, count: int, seed: int, held_out: tuple[float, int] | None = None) -> DetectionDataset:
        """A seeded draw of at most ``count`` samples without replacement.

        Those that ``hold_out(*held_out)`` holds out come first.
        """
        first = set(self._split_off(*held_out)[1] if held_out else ())
        order = sorted(np.random.default_rng(seed).permutation(len(self)), key=lambda i: i not in first)
        return self.subset(order[:count])

    def _split_off(self, fraction: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices of the rest and of a seeded ``fraction``, both in drawn order."""
        count = min(max(round(len(self) * fraction), 1), len(self) - 1) if fraction > 0 and len(self) > 1 else 0
        order = np.random.default_rng(seed).permutation(len(self))
        return order[count:], order[:count]

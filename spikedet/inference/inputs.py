"""What ``spikedet detect`` looks at: images, videos, cameras, addresses, and folders of them."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from spikedet.common.errors import ConfigError, DataError
from spikedet.data.dataset import DetectionDataset
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.walk import say_skipped, walk
from spikedet.detections import Detections
from spikedet.video import VIDEO_SUFFIXES, Source, parse_source

SUFFIXES = frozenset((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
"""File endings looked for in folders, in lower case."""

MOST_NAME_BYTES = 220
"""Of a file's name; file systems take 255, and the number of a frame, a suffix and the like are added."""


@dataclass(frozen=True)
class Input:
    """One image, video or camera.

    Attributes:
        source: where it is.
        video: whether it has frames.
        name: of the files made from it, without suffix; in a subfolder of the source, with that subfolder.
    """

    source: Source
    video: bool
    name: str

    @property
    def key(self) -> str:
        """What it is called in detections.json."""
        return self.source.text if self.source.kind == "file" else self.name


def find_inputs(texts: Sequence[str], out: Path) -> tuple[list[Input], list[str]]:
    """Everything that the sources represent, each once: of a folder its images and videos, subfolders too.

    Hidden files, files of the system and the output folder are skipped, and so are images of other formats; one line
    says how many.

    Returns:
        The inputs in the order of the sources, of a folder in that of paths, and a sentence about each source that is
        nothing.

    Raises:
        DataError: no source is anything.
        ConfigError: the output folder is that of the inputs.
    """
    found: dict[str, tuple[Source, str]] = {}
    broken: list[str] = []
    for text in texts:
        try:
            for source, name in _of_source(text, out):
                where = os.path.abspath(source.text) if source.kind == "file" else source.text
                found.setdefault(where, (source, name))
        except DataError as error:
            broken.append(str(error))
    if not found:
        raise DataError(broken[0] if broken else "no image, video or folder was named")
    return _named(list(found.values()), out), broken


def labelled_inputs(dataset: DetectionDataset, out: Path) -> tuple[list[Input], dict[str, Detections]]:
    """Images of a dataset and their labels, of score 1, by ``Input.key``. Raises ConfigError as ``find_inputs``."""
    found = [(Source(str(sample.image_path), "file"), sample.image_id) for sample in dataset.samples]
    labels = {
        str(sample.image_path): Detections(sample.boxes_xyxy, np.ones(len(sample.labels), np.float32), sample.labels)
        for sample in dataset.samples
    }
    return _named(found, out), labels


def _of_source(text: str, out: Path) -> list[tuple[Source, str]]:
    """What one source represents, with names: of a file its path below the folder that was named, suffix and all."""
    source = parse_source(text)
    if source.kind != "file":
        return [(source, source.name)]
    root = Path(text)
    if not os.path.exists(root):
        raise DataError(f"{root}: no such image, video or folder")
    if not root.is_dir():
        return [(source, root.name)]
    tree = walk(root, without=out.resolve())
    say_skipped(tree, SUFFIXES)
    paths = sorted(path for path in (root / name for name in tree.files(SUFFIXES)) if path.is_file())
    if not paths:
        raise DataError(f"{root}: no images or videos in this folder; expected {', '.join(sorted(SUFFIXES))}")
    return [(Source(str(path), "file"), path.relative_to(root).as_posix()) for path in paths]


def _named(found: list[tuple[Source, str]], out: Path) -> list[Input]:
    """Inputs with names of their own. Those that differ in their suffix alone keep it, others are numbered.

    Capitals and small letters are the same, as in the file systems of Windows and macOS. Raises ConfigError where the
    output folder is that of an input.
    """
    files = [Path(source.text) for source, _ in found if source.kind == "file"]
    if out.resolve() in {path.resolve().parent for path in files}:
        raise ConfigError(f"--out {out} is the folder of the images; choose another one, so that none is overwritten")
    videos = [source.kind != "file" or Path(name).suffix.lower() in VIDEO_SUFFIXES for source, name in found]
    stems = [name if source.kind != "file" else str(PurePosixPath(name).with_suffix("")) for source, name in found]
    counts = Counter((_folded(stem), video) for stem, video in zip(stems, videos, strict=True))
    taken: set[tuple[str, bool]] = set()
    inputs = []
    for (source, whole), stem, video in zip(found, stems, videos, strict=True):
        base = _shortened(stem if counts[_folded(stem), video] == 1 else whole)
        names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        name = next(name for name in names if (_folded(name), video) not in taken)
        taken.add((_folded(name), video))
        inputs.append(Input(source, video, name))
    return inputs


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _shortened(name: str) -> str:
    """A name whose last part leaves room for what is added to it."""
    folder, slash, last = name.rpartition("/")
    while len(os.fsencode(last)) > MOST_NAME_BYTES:
        last = last[: len(last) - 1]
    return f"{folder}{slash}{last}"

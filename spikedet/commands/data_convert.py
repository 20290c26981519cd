"""``spikedet data convert``: a dataset written anew in another layout."""

from __future__ import annotations

import itertools
import logging
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from spikedet.common.errors import DataError
from spikedet.common.files import atomic_folder
from spikedet.common.progress import track
from spikedet.config import DataConvertConfig
from spikedet.data.dataset import Sample
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.reading import Rules, list_splits, log_content, read_splits, say_notes, say_seen
from spikedet.data.sources import find_layout
from spikedet.data.writing import IMAGE_FOLDERS, NamedSample, write_layout

logger = logging.getLogger("spikedet")


def data_convert(config: DataConvertConfig) -> Path:
    """Write every split of a dataset in another layout; returns the new folder, which appears when it is whole.

    Boxes without area are dropped and those that leave their image clipped, as in loading.

    Raises:
        DataError: the data are broken (without ``skip_bad``), or cannot be written in this layout.
        SpikedetError: the new folder is there already with something in it, or cannot be written.
    """
    layout, known = find_layout(config.data, layout=config.layout, fractions=config.fractions)
    out = Path(config.out)
    refuse_within(out, layout.root)
    listings, unlisted = list_splits(layout, layout.splits(), config.skip_bad)
    for split, error in unlisted.items():
        logger.warning("%s, split %s: left out; %s", layout.root, split, error)
    if not listings:
        raise DataError(f"{layout.root}: no split can be used; first: {next(iter(unlisted.values()))}")
    class_names, contents = read_splits(
        layout.root, listings, known, Rules(skip_bad=config.skip_bad, same_hw=config.skip_bad)
    )
    if not class_names:
        raise DataError(
            f"{layout.root}: no object to learn the classes from; name them in a YAML file with data and names"
        )
    say_seen(layout, listings, class_names)
    say_notes(layout.root, listings.values())
    for split, content in contents.items():
        log_content(layout.root, split, content)
    splits = name_images({split: content.samples for split, content in contents.items()})
    unique = {item.file_name: item.sample.image_path for items in splits.values() for item in items}
    with atomic_folder(out) as folder:
        images = folder / IMAGE_FOLDERS[config.to]
        images.mkdir()
        for name, source in track(unique.items(), "copying images"):
            shutil.copyfile(source, images / name)
        lost = write_layout(config.to, folder, splits, class_names)
    counts = ", ".join(f"{len(items)} {split}" for split, items in splits.items())
    logger.info(f"{out}: {counts} images in {config.to} layout, from {config.data} ({layout.kind})")
    if lost:
        logger.info(f"{out}: {lost}")
    return out


def refuse_within(out: Path, root: Path) -> None:
    """Raise DataError where ``out`` lies within a dataset's folder, to which nothing is ever written."""
    if out.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{out}: lies within the dataset {root}; choose an output folder outside it")


def name_images(splits: Mapping[str, Sequence[Sample]]) -> dict[str, list[NamedSample]]:
    """File names for the images of a new folder: the old ones where those tell them apart.

    Blanks and characters with a meaning in paths become ``_``; a name that is taken (upper and lower case are alike)
    gets the old folder's name in front, and a number behind if that does not help. An image of several splits has one
    name, unless its objects differ.

    Raises:
        DataError: an image's suffix is unknown.
    """
    names: dict[tuple[Path, bytes], str] = {}
    taken: set[str] = set()
    for sample in (sample for samples in splits.values() for sample in samples):
        key = _identity(sample)
        if key not in names:
            suffix = sample.image_path.suffix.lower()
            if suffix not in IMAGE_SUFFIXES:
                known = ", ".join(IMAGE_SUFFIXES)
                raise DataError(f"{sample.image_path}: an image with the suffix {suffix!r}; expected one of {known}")
            stem = next(name for name in _stems(sample.image_path) if name.casefold() not in taken)
            taken.add(stem.casefold())
            names[key] = stem + suffix
    return {
        split: [NamedSample(names[_identity(sample)], sample) for sample in samples]
        for split, samples in splits.items()
    }


def _identity(sample: Sample) -> tuple[Path, bytes]:
    """What makes an image one of its own: its file and its objects."""
    parts = (sample.boxes_xyxy, sample.labels, sample.difficult, sample.crowd)
    return sample.image_path, b"|".join(part.tobytes() for part in parts)


def _stems(path: Path) -> Iterable[str]:
    """Names for an image, the best first, without end."""
    stem, folder = (re.sub(r"[^\w.-]|\.(?=\.)", "_", text).strip(".") for text in (path.stem, path.parent.name))
    long = f"{folder}_{stem}"
    return itertools.chain([stem or "_", long], (f"{long}_{number}" for number in itertools.count(2)))

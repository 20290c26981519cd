"""From what the user names (``synthetic``, a folder, a YAML or JSON file) to a dataset."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from spikedet.common.errors import ConfigError, DataError
from spikedet.common.objects import given
from spikedet.common.yaml import read_mapping
from spikedet.config import SourceLayout
from spikedet.data.coco.layout import coco_file
from spikedet.data.dataset import DetectionDataset
from spikedet.data.divided import DividedLayout
from spikedet.data.division import FRACTIONS, parse_fractions
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.layout import Layout
from spikedet.data.loose import LooseLayout
from spikedet.data.reading import load_split
from spikedet.data.recognition import YAML_HELP, recognize
from spikedet.data.split_names import usual_split
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES
from spikedet.data.values import shown
from spikedet.data.voc.layout import VocLayout
from spikedet.data.walk import say_skipped, walk
from spikedet.data.yolo.layout import YoloLayout
from spikedet.data.yolo.yaml import class_names_of, is_yolo, parse_yolo

CACHE_ROOT = Path("runs/data")
ALL_LAYOUTS_HELP = "expected a folder of images with VOC, YOLO, COCO, LabelMe or CSV annotations"
_YAML_KEYS = ("data", "names", "layout", "fractions")


def load_dataset(
    data: str | Path,
    split: str,
    class_names: Sequence[str] | None = None,
    strict: bool = False,
    skip_bad: bool = False,
    cache_root: Path = CACHE_ROOT,
    layout: str = "",
    fractions: str = FRACTIONS,
    trained: Mapping[str, Any] | None = None,
) -> DetectionDataset:
    """Load a split of a dataset; the dataset's own folder is never written to.

    Args:
        data: as ``find_layout`` takes it; the name of a dataset that was given as an object is that dataset.
        split: ``train``, or several parts as ``train+val``; the parts of a VOC devkit may name a year
            (``VOC2007/train``). A COCO JSON file is its own split.
        class_names: the classes in label order; None takes the YAML's ``names``, the categories of COCO (by ascending
            id) or the names that VOC annotations use.
        strict: raise at the first box without area or partly outside its image, instead of repairing and counting.
        skip_bad: leave out images that cannot be read or whose annotation is broken, instead of raising at the first;
            every image is decoded once to find them.
        cache_root: where synthetic data is written once and reused.
        layout, fractions, trained: as ``find_layout`` takes them.

    Raises:
        ConfigError: a setting or YAML key is unknown or invalid.
        DataError: the path or split is missing, an annotation or an image is missing or broken (the message names it),
            or a class is unknown.
    """
    if (dataset := given(data)) is not None:
        return _of_classes(dataset, class_names)
    found, names = find_layout(data, cache_root, layout, fractions, trained)
    known = names if class_names is None else class_names
    return load_split(found, split, known, strict, skip_bad, say=not is_synthetic(data))


class Trained(Protocol):
    """What metadata of a checkpoint say of the images that it was trained on."""

    @property
    def class_names(self) -> Sequence[str]: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


def load_for(meta: Trained, data: str | Path, split: str, config: object) -> DetectionDataset:
    """The images of a network: its classes, its division, and what a command's configuration says about reading them.

    Raises:
        ConfigError, DataError: as ``load_dataset``.
    """
    names = ("strict", "skip_bad", "layout", "fractions")
    how = {name: getattr(config, name) for name in names if hasattr(config, name)}
    dataset = load_dataset(data, split, meta.class_names, trained=meta.data, **how)
    limit = getattr(config, "limit", 0)
    return dataset.subset(range(min(limit, len(dataset)))) if limit else dataset


def _of_classes(dataset: DetectionDataset, class_names: Sequence[str] | None) -> DetectionDataset:
    """A dataset given as an object, its labels in the order of these classes. Raises DataError for other classes."""
    names = tuple(class_names or dataset.class_names)
    if unknown := [name for name in dataset.class_names if name not in names]:
        raise DataError(f"{dataset.name}: class {shown(unknown[0])} is unknown; the network knows {', '.join(names)}")
    labels = np.array([names.index(name) for name in dataset.class_names], np.int64)
    samples = tuple(replace(sample, labels=labels[sample.labels]) for sample in dataset.samples)
    return replace(dataset, class_names=names, samples=samples)


def is_synthetic(data: str | Path) -> bool:
    """Whether it names the set that is made here, and no path."""
    return str(data).partition(":")[0] == "synthetic"


def find_layout(
    data: str | Path,
    cache_root: Path = CACHE_ROOT,
    layout: str = "",
    fractions: str = FRACTIONS,
    trained: Mapping[str, Any] | None = None,
) -> tuple[Layout, Sequence[str] | None]:
    """The dataset that the user names and, where they set them, its class names in label order.

    Args:
        data: ``synthetic`` (also ``synthetic:train=64,val=16,test=16,size=160,seed=0``), a folder whose layout is
            recognized by what is there (see ``recognize``), a YOLO ``data.yaml``, a COCO ``.json`` file, or a ``.yaml``
            file with ``data`` (a folder, relative to the file) and optionally ``names`` (class names in label order),
            ``layout`` and ``fractions``.
        cache_root: where synthetic data is written once and reused.
        layout: the only layout that is tried; "" tries all.
        fractions: of train, val and test, where there are no splits.
        trained: ``CheckpointMeta.data`` of a network: where it has divided these images, that division is kept.

    Raises:
        ConfigError: a setting or YAML key is unknown or invalid.
        DataError: there is no such path, or the folder is of no layout we know.
    """
    divided = parse_fractions(fractions)
    if is_synthetic(data):
        config = parse_synthetic(str(data).partition(":")[2])
        made = write_synthetic(Path(cache_root) / config.folder_name, config)
        return _with_splits(VocLayout(made), divided), SYNTHETIC_CLASS_NAMES
    known: Mapping[str, Any] = trained or {}
    same = bool(known.get("data")) and Path(data).resolve().name == Path(known["data"]).name
    layout = layout or (same and known.get("layout")) or ""
    names: Sequence[str] | None = None
    path = folder = _expanded(str(data))
    if not path.is_dir():
        if path.suffix.lower() == ".json":
            return _with_splits(coco_file(path), divided), None
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise DataError(_nothing_at(path))
        content = read_mapping(path, YAML_HELP)
        if is_yolo(content):
            yolo = YoloLayout(parse_yolo(path, content))
            say_skipped(walk(yolo.root), IMAGE_SUFFIXES)
            return _with_splits(yolo, divided), None
        folder, names, layout, divided = _short_form(path, content, layout, divided)
    found = recognize(folder, layout, names)
    splits = [""] if isinstance(found, LooseLayout) and not found.splits() else found.splits()
    if len(splits) > 1 or usual_split(splits[0]):
        return _with_splits(found, divided), names
    return DividedLayout(found, splits[0], divided, known.get("parts"), same), names


def parse_synthetic(settings: str) -> SyntheticConfig:
    """``"train=64,seed=3"`` to a checked config; keys left out keep their defaults. Raises ConfigError."""
    default = SyntheticConfig()
    values = {**default.counts, "size": default.image_hw[0], "seed": default.seed}
    for item in filter(None, (part.strip() for part in settings.split(","))):
        key, _, text = (part.strip() for part in item.partition("="))
        if key not in values:
            raise ConfigError(f"synthetic: unknown setting {key!r}; known: {', '.join(values)}")
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ConfigError(
                f"synthetic: {key}={text} is not a whole number of at most 9 digits; for example {key}={values[key]}"
            )
        values[key] = int(text)
    side = values.pop("size")
    return SyntheticConfig(**values, image_hw=(side, side))


def _with_splits(found: Layout, fractions: Sequence[float]) -> Layout:
    """A layout that is not divided; a word where fractions were asked for."""
    if tuple(fractions) != parse_fractions(FRACTIONS):
        splits = ", ".join(found.splits())
        logging.getLogger("spikedet").warning(f"{found.root}: it has splits ({splits}), so fractions are not used")
    return found


def _short_form(
    path: Path, content: Mapping[str, Any], layout: str, fractions: tuple[float, float, float]
) -> tuple[Path, Sequence[str] | None, str, tuple[float, float, float]]:
    """The folder and the class names that a YAML of our own short form gives; its own layout and fractions go first."""
    unknown = [str(key) for key in content if key not in _YAML_KEYS]
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(_YAML_KEYS)}")
    written = content.get("data")
    if not isinstance(written, str) or not written.strip():
        raise ConfigError(f"{path}: 'data' must be the path of a dataset's folder, got {shown(written)}")
    folder = path.parent / _expanded(written)
    names = None if content.get("names") is None else class_names_of(path, content["names"])
    if not folder.is_dir():
        raise DataError(_nothing_at(folder))
    layout = content.get("layout", layout)
    if layout not in ("", *get_args(SourceLayout)):
        raise ConfigError(f"{path}: 'layout' must be one of {', '.join(get_args(SourceLayout))}, got {shown(layout)}")
    if "fractions" in content:
        fractions = parse_fractions(str(content["fractions"]).strip("[]"), f"{path}: 'fractions'")
    return folder, names, layout, fractions


def _nothing_at(path: Path) -> str:
    return f"{path}: no such dataset; {ALL_LAYOUTS_HELP}, a .yaml file that names one, or 'synthetic'"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: {error}; write the folder out") from error

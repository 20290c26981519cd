"""From what the user names (``synthetic``, a YAML file, a folder) to a dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from spikedet.data.dataset import DetectionDataset
from spikedet.data.scenes import SYNTHETIC_CLASS_NAMES
from spikedet.data.synthetic import SyntheticConfig, write_synthetic
from spikedet.data.voc import load_voc
from spikedet.data.voc_splits import LAYOUT_HELP
from spikedet.errors import ConfigError, DataError

_YAML_KEYS = ("data", "names")


def load_dataset(
    data: str | Path,
    split: str,
    class_names: Sequence[str] | None = None,
    strict: bool = False,
    cache_root: Path = Path("runs/data"),
) -> DetectionDataset:
    """Load a split of a dataset; the dataset's own folder is never written to.

    Args:
        data: ``"synthetic"``, optionally with settings (``"synthetic:train=64,val=16,seed=3"``; keys train, val,
            test, size in pixels, seed); a ``.yaml`` file with the keys ``data`` (folder, relative to the file) and
            optionally ``names``; or a VOC folder.
        split: as ``load_voc`` takes it.
        class_names: the classes in label order; None takes the YAML's ``names`` or those of the annotations.
        strict: as ``load_voc`` takes it.
        cache_root: where synthetic data is written once and reused.

    Raises:
        ConfigError: a setting or YAML key is unknown or invalid.
        DataError: the path is missing, or as ``load_voc``.
    """
    name, _, settings = str(data).partition(":")
    if name == "synthetic":
        root = _write_cached(parse_synthetic(settings), Path(cache_root))
        return load_voc(root, split, SYNTHETIC_CLASS_NAMES if class_names is None else class_names, strict)
    path = _expanded(str(data))
    if path.suffix.lower() in (".yaml", ".yml"):
        path, names = _read_yaml(path)
        class_names = names if class_names is None else class_names
    if not path.is_dir():
        raise DataError(f"{path}: no such dataset; {LAYOUT_HELP}, a .yaml file that names one, or 'synthetic'")
    return load_voc(path, split, class_names, strict)


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


def _write_cached(config: SyntheticConfig, cache_root: Path) -> Path:
    return write_synthetic(
        cache_root / config.folder_name,
        train=config.train,
        val=config.val,
        test=config.test,
        image_hw=config.image_hw,
        seed=config.seed,
    )


def _read_yaml(path: Path) -> tuple[Path, list[str] | None]:
    """The folder and the class names that a dataset YAML gives."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a YAML file with the key 'data' and optionally 'names'")
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping with the key 'data' and optionally 'names'")
    unknown = [str(key) for key in content if key not in _YAML_KEYS]
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(_YAML_KEYS)}")
    folder = content.get("data")
    if not isinstance(folder, str) or not folder.strip():
        raise ConfigError(f"{path}: 'data' must be the path of a VOC folder, got {folder!r}")
    return path.parent / _expanded(folder), _checked_names(path, content.get("names"))


def _checked_names(path: Path, names: object) -> list[str] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(f"{path}: 'names' must be a list of class names (quote names such as 'no' or '1')")
    if len(set(names)) != len(names):
        raise ConfigError(f"{path}: 'names' has a name twice: {names}")
    return list(names)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: {error}; write the folder out") from error

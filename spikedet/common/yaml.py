"""YAML that users write, read without running anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from spikedet.common.errors import ConfigError, DataError
from spikedet.common.files import read_bytes


class _Loader(yaml.SafeLoader):
    """Safe YAML without merges (``<<: *other``), a few lines of which may ask for billions of keys."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("a mapping takes over another with '<<'; write its keys out")
        super().flatten_mapping(node)


def read_mapping(path: Path, expected: str) -> dict[str, Any]:
    """A YAML file's top-level mapping. Raises DataError where it is missing, ConfigError where it is something else."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected a YAML file with {expected}")
        content: Any = yaml.load(read_bytes(path).decode("utf-8"), _Loader)
    except DataError:
        raise
    except (OSError, yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping with {expected}")
    return content

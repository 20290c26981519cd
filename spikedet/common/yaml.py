"""YAML that users write, read without running anything in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from spikedet.common.errors import ConfigError, DataError
from spikedet.common.files import read_bytes

_PLAIN = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)


class UnusualInt(int):
    """A whole number that YAML 1.1 reads in another way than a person: 010 is 8, 1_000 is 1000, 1:30 is 90."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without merges (``<<: *other``), a few lines of which may ask for billions of keys."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("a mapping takes over another with '<<'; write its keys out")
        super().flatten_mapping(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Mark numbers that are not written in the plain way."""
        value: int = super().construct_yaml_int(node)
        return value if _PLAIN.fullmatch(node.value) else UnusualInt(value)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


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

"""Where the files that travel with the package are: in the wheel's ``_data`` folder, or in the checkout."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from spikedet.common.errors import CheckpointError

_PACKAGE = Path(__file__).resolve().parents[1]


def resource_folder(name: str) -> Path:
    """The folder ``configs`` or ``weights``, wherever spikedet runs from."""
    packaged = _PACKAGE / "_data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def sample_images() -> list[Path]:
    """The sample images that the ultralytics package ships: a bus and two people."""
    return sorted(Path(str(files("ultralytics") / "assets")).glob("*.jpg"))


def shipped_weights() -> dict[str, Path]:
    """The checkpoints that ship with the package, by name."""
    return {found.stem: found for found in sorted(resource_folder("weights").glob("*.safetensors"))}


def shipped_file(name: str | Path) -> Path | None:
    """The shipped checkpoint of this name; None for other names, and where a file or folder of the name is there."""
    return None if Path(name).exists() else shipped_weights().get(str(name))


def find_weights(name: str | Path) -> Path:
    """A checkpoint by path, or one of those that ship with the package by its name.

    Raises:
        CheckpointError: it is neither.
    """
    path = shipped_file(name) or Path(name)
    if path.suffix != ".safetensors" and not path.exists():
        known = ", ".join(shipped_weights()) or "none"
        raise CheckpointError(f"{name}: no such checkpoint; expected a .safetensors file or a shipped one: {known}")
    return path

"""What ``spikedet detect`` looks at: images, videos, cameras, addresses, and folders of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from spikedet.common.errors import ConfigError, DataError
from spikedet.data.images import IMAGE_SUFFIXES
from spikedet.data.walk import say_skipped, walk
from spikedet.video import VIDEO_SUFFIXES, Source, parse_source

SUFFIXES = frozenset((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
"""File endings looked for in folders, in lower case."""


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


def find_inputs(text: str, out: Path) -> list[Input]:
    """Everything that a source represents; of a folder its images and videos, subfolders too, in order of paths.

    Hidden files, files of the system and the output folder are skipped, and so are images of other formats; one line
    says how many.

    Raises:
        DataError: nothing is there.
        ConfigError: the output folder is that of the inputs.
    """
    source = parse_source(text)
    if source.kind != "file":
        return [Input(source, True, source.name)]
    root = Path(text)
    if not root.exists():
        raise DataError(f"{root}: no such image, video or folder")
    paths = _search(root, out.resolve()) if root.is_dir() else [root]
    if not paths:
        raise DataError(f"{root}: no images or videos in this folder; expected {', '.join(sorted(SUFFIXES))}")
    if out.resolve() in {path.resolve().parent for path in paths}:
        raise ConfigError(f"--out {out} is the folder of the images; choose another one, so that none is overwritten")
    return _named(paths, root if root.is_dir() else root.parent)


def _search(folder: Path, out: Path) -> list[Path]:
    tree = walk(folder, without=out)
    say_skipped(tree, SUFFIXES)
    return sorted(path for path in (folder / name for name in tree.files(SUFFIXES)) if path.is_file())


def _named(paths: list[Path], root: Path) -> list[Input]:
    """Files that differ in their suffix alone keep it in their names."""
    stems = Counter((path.with_suffix(""), _is_video(path)) for path in paths)
    found = []
    for path in paths:
        alone = stems[path.with_suffix(""), _is_video(path)] == 1
        name = (path.with_suffix("") if alone else path).relative_to(root).as_posix()
        found.append(Input(Source(str(path), "file"), _is_video(path), name))
    return found


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES

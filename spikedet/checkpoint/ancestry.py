"""Which checkpoint came from which, by their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spikedet.checkpoint.metadata import read_meta
from spikedet.common.digests import file_sha256


def with_parents(paths: Sequence[Path]) -> list[Path]:
    """Each checkpoint after the checkpoints it came from, as far as those are still where they were, unchanged."""
    ordered: dict[str, Path] = {}

    def visit(path: Path) -> None:
        digest = file_sha256(path) if path.is_file() else str(path)
        if digest in ordered:
            return
        parent = read_meta(path).parent
        if parent and Path(parent["file"]).is_file() and file_sha256(Path(parent["file"])) == parent["sha256"]:
            visit(Path(parent["file"]))
        ordered.setdefault(digest, path)

    for path in paths:
        visit(path)
    return list(ordered.values())


def lineage(digest: str, parents: Mapping[str, str | None]) -> set[str]:
    """A checkpoint's digest and those of the checkpoints it came from, by ``digest -> parent's digest``."""
    found: set[str] = set()
    current: str | None = digest
    while current is not None and current not in found:
        found.add(current)
        current = parents.get(current)
    return found

"""Checkpoint files, the state of unfinished runs, and which file came from which."""

from spikedet.checkpoint.metadata import (
    CheckpointMeta,
    is_foreign,
    load_checkpoint,
    read_meta,
    require_converted,
    require_same_classes,
    save_checkpoint,
)

__all__ = [
    "CheckpointMeta",
    "is_foreign",
    "load_checkpoint",
    "read_meta",
    "require_converted",
    "require_same_classes",
    "save_checkpoint",
]

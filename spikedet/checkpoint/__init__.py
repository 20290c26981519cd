"""Checkpoint files, the state of unfinished runs, and which file came from which."""

from spikedet.checkpoint.metadata import (
    FORMAT,
    CheckpointMeta,
    Parent,
    TrainingImages,
    holds,
    is_foreign,
    load_checkpoint,
    read_meta,
    require_converted,
    require_same_classes,
    require_there,
    save_checkpoint,
)

__all__ = [
    "FORMAT",
    "CheckpointMeta",
    "Parent",
    "TrainingImages",
    "holds",
    "is_foreign",
    "load_checkpoint",
    "read_meta",
    "require_converted",
    "require_same_classes",
    "require_there",
    "save_checkpoint",
]

"""Converted networks in checkpoints: the graph is rebuilt from the architecture, the tensors are loaded into it."""

from __future__ import annotations

from pathlib import Path

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.common.errors import CheckpointError
from spikedet.conversion.converter import to_spiking
from spikedet.models import build_detector
from spikedet.snn import SpikingNetwork


def save_spiking(path: Path, network: SpikingNetwork, meta: CheckpointMeta, *, keep: bool = False) -> Path:
    """Write a converted network; ``keep`` as in ``save_checkpoint``."""
    return save_checkpoint(path, network.tensors(), meta, keep=keep)


def load_spiking(path: Path) -> tuple[SpikingNetwork, CheckpointMeta]:
    """Read a converted network.

    Raises:
        CheckpointError: an ANN checkpoint, or tensors that do not fit the architecture.
    """
    tensors, meta = load_checkpoint(path)
    if not meta.spiking or meta.T is None or meta.neuron is None:
        raise CheckpointError(f"{path}: not a converted network (stage {meta.stage}); run spikedet convert first")
    skeleton = build_detector(meta.architecture, meta.class_names)
    network = to_spiking(
        skeleton, meta.T, neuron=meta.neuron, delay=meta.delay, max_pool=meta.max_pool, linear=meta.linear
    )
    try:
        network.load_tensors(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its tensors do not fit its architecture ({str(error)[:200]})") from error
    return network, meta

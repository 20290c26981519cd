"""ANN checkpoints back as networks."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, load_checkpoint
from spikedet.errors import CheckpointError
from spikedet.models.builder import ClipDetector, build_detector


def load_ann(path: Path) -> tuple[ClipDetector, CheckpointMeta]:
    """A source ANN, or a QC-ANN as the clip ANN with its weights, in eval mode.

    Raises:
        CheckpointError: the checkpoint is a spiking network, or its tensors do not fit its architecture.
    """
    tensors, meta = load_checkpoint(path)
    if meta.spiking:
        raise CheckpointError(f"{path}: a converted network (stage {meta.stage}); expected a source ANN or a QC-ANN")
    per_channel = any(v.numel() > 1 for k, v in tensors.items() if k.endswith("log_theta"))
    model = build_detector(meta.architecture, meta.class_names, theta_per="channel" if per_channel else "layer")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: its tensors do not fit its architecture ({str(error)[:200]})") from error
    return model.eval(), meta


def start_from_(model: ClipDetector, path: Path) -> int:
    """Copy a checkpoint's tensors into a network, in place, where name and shape agree.

    So a network for other classes starts from a trained backbone.

    Returns:
        Number of tensors copied.

    Raises:
        CheckpointError: no ANN checkpoint, or not one tensor of it fits.
    """
    source, meta = load_ann(path)
    own = model.state_dict()
    fitting = {name: value for name, value in source.state_dict().items() if _fits(value, own.get(name))}
    if not fitting:
        raise CheckpointError(f"{path}: none of its tensors fits this network ({meta.model}); train the same --model")
    model.load_state_dict({**own, **fitting})
    return len(fitting)


def _fits(value: Tensor, other: Tensor | None) -> bool:
    return other is not None and value.shape == other.shape

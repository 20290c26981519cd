"""ANN checkpoints back as networks, and ultralytics' files as ANN checkpoints."""

from __future__ import annotations

from pathlib import Path

from spikedet.checkpoint import CheckpointMeta, holds, load_checkpoint, save_checkpoint
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.models.architecture import check_architecture
from spikedet.models.builder import UNCLIPPED, ClipDetector, build_detector
from spikedet.models.imported import read_ultralytics


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


def import_ultralytics(path: Path, out: Path) -> Path:
    """Write an ultralytics ``.pt`` detector with ReLU or LeakyReLU as a source ANN that clips nothing yet.

    A file that holds it already stays as it is.

    Raises:
        CheckpointError: the file cannot be used, or holds a layer that we do not know.
        ConfigError: its activation or one of its modules cannot spike, or ``out`` is there and holds anything else.
    """
    found = read_ultralytics(path)
    check_architecture(found.architecture, str(path))
    model = build_detector(found.architecture, found.class_names, theta=UNCLIPPED)
    missing, extra = model.load_state_dict(found.tensors, strict=False)
    strange = [name for name in [*missing, *extra] if not name.endswith("log_theta")]
    if strange:
        raise CheckpointError(f"{path}: its tensors do not fit its architecture ({', '.join(strange[:3])})")
    meta = CheckpointMeta(
        stage="ann",
        model=path.stem,
        architecture=found.architecture,
        class_names=found.class_names,
        image_size=found.image_size,
        notes={"imported": path.name},
    )
    if not out.exists():
        return save_checkpoint(out, model.state_dict(), meta)
    if not holds(out, model.state_dict(), meta):
        raise ConfigError(f"{out}: another network than that of {path} is there already; name another --out")
    return out

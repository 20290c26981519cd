"""ANN checkpoints back as networks, and ultralytics' files as ANN checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.checkpoint.metadata import holds
from spikedet.checkpoint.tensors import require_fit
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.models.architecture import check_architecture
from spikedet.models.builder import UNCLIPPED, ClipDetector, activations, build_skeleton
from spikedet.models.extent import require_whole_cells
from spikedet.models.imported import read_ultralytics
from spikedet.models.methods import with_method


def load_ann(path: Path) -> tuple[ClipDetector, CheckpointMeta]:
    """A source ANN, a QC-ANN as the clip ANN with its weights, or the C-LIF network of stage clif, in eval mode.

    Raises:
        CheckpointError: the checkpoint is a spiking network, its tensors do not fit its architecture, or it is too
            large.
    """
    tensors, meta = load_checkpoint(path)
    if meta.spiking:
        raise CheckpointError(f"{path}: a converted network (stage {meta.stage}); expected a source ANN or a QC-ANN")
    return _filled(path, meta, tensors), meta


def _filled(path: Path, meta: CheckpointMeta, tensors: dict[str, Tensor]) -> ClipDetector:
    """The detector that metadata describe, with the tensors of a file. Raises CheckpointError where they do not fit."""
    model, extent = build_skeleton(meta.architecture, meta.class_names)
    for _, activation in activations(model):
        activation.let_be_worth_(meta.worth)
    if meta.stage == "clif":
        model = with_method(model, meta)
    own = model.state_dict()
    for name, value in tensors.items():
        if name in own and name.endswith("log_theta") and value.shape == (1,):  # earlier versions: one for each layer
            tensors[name] = value.expand(own[name].shape)
    require_fit(path, tensors, own)
    require_whole_cells(path, meta.image_size, model.stride)
    extent.at(meta.image_size).require(CheckpointError, str(path))
    model.model.to_empty(device="cpu")
    model.load_state_dict(tensors)
    return model.eval()


def import_ultralytics(path: Path, out: Path) -> Path:
    """Write an ultralytics ``.pt`` detector with ReLU or LeakyReLU as a source ANN that clips nothing yet.

    A file that holds it already stays as it is.

    Raises:
        CheckpointError: the file cannot be used, or holds a layer that we do not know.
        ConfigError: its activation or one of its modules cannot spike, or ``out`` is there and holds anything else.
    """
    found = read_ultralytics(path)
    check_architecture(found.architecture, str(path))
    meta = CheckpointMeta(
        stage="ann",
        model=path.stem,
        architecture=found.architecture,
        class_names=found.class_names,
        image_size=found.image_size,
        notes={"imported": path.name},
    )
    skeleton, _ = build_skeleton(found.architecture, found.class_names)
    thetas = {name: value for name, value in skeleton.state_dict().items() if name.endswith("log_theta")}
    unclipped = {name: torch.full(value.shape, math.log(UNCLIPPED)) for name, value in thetas.items()}
    model = _filled(path, meta, found.tensors | unclipped)
    if not out.exists():
        return save_checkpoint(out, model.state_dict(), meta)
    if not holds(out, model.state_dict(), meta):
        raise ConfigError(f"{out}: another network than that of {path} is there already; name another --out")
    return out

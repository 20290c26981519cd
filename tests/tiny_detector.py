"""A detector small enough to run in milliseconds, with every kind of layer, and a checkpoint of each of its stages."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.commands.calibrate import calibrate
from spikedet.commands.convert import convert
from spikedet.config import CalibrateConfig, ConvertConfig
from spikedet.data.synthetic.dataset import SyntheticConfig, write_synthetic
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES
from spikedet.models import ClipDetector, activations, build_detector

T = 4
IMAGE_SIZE = 64
ARCHITECTURE: dict[str, Any] = {
    "nc": 4,
    "activation": "torch.nn.ReLU()",
    "reg_max": 4,
    "backbone": [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "Bottleneck", [8, True]],
    ],
    "head": [
        [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
        [[-1, 2], 1, "Concat", [1]],
        [-1, 1, "Conv", [8, 1, 1]],
        [[7, 4], 1, "Detect", ["nc"]],
    ],
}


@dataclass(frozen=True)
class Chain:
    """Checkpoints of one detector: ANN -> QC-ANN -> copied weights -> coarse and fine calibration; not to be changed.

    Attributes:
        images: VOC folder of 64 px images: 8 train, 4 val, 4 test.
        folder: where the five checkpoints lie.
    """

    images: Path
    folder: Path

    def __getitem__(self, stage: str) -> Path:
        return self.folder / f"{stage}.safetensors"


@cache
def sample_images() -> Path:
    """The images of ``Chain``, removed when the tests are over."""
    folder = Path(tempfile.mkdtemp(prefix="spikedet-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return write_synthetic(folder / "images", SyntheticConfig(8, 4, 4, image_hw=(IMAGE_SIZE, IMAGE_SIZE)))


@cache
def chain() -> Chain:
    """The checkpoints, made on first use; the QC-ANN is the ANN with somewhat other thresholds instead of trained."""
    made = Chain(sample_images(), sample_images().parent / "chain")
    write_ann(made["ann"])
    tensors, meta = load_checkpoint(made["ann"])
    lower = {name: value - 0.25 if name.endswith("log_theta") else value for name, value in tensors.items()}
    save_checkpoint(made["qc"], lower, meta.child(made["ann"], stage="qc", finetuned=True, T=T))
    convert(ConvertConfig(checkpoint=str(made["qc"])))
    calibrate(CalibrateConfig(checkpoint=str(made["copied"]), images=6, epochs=2, batch=4, lr=1e-3, crop=3))
    return made


def write_ann(path: Path, seed: int = 0) -> Path:
    """A source checkpoint with the statistics of a trained one and boxes above every threshold."""
    meta = CheckpointMeta(
        stage="ann",
        model="tiny",
        architecture=ARCHITECTURE,
        class_names=SYNTHETIC_CLASS_NAMES,
        image_size=IMAGE_SIZE,
        data={"data": str(sample_images()), "split": "train"},
    )
    return save_checkpoint(path, detector(seed).state_dict(), meta)


@torch.no_grad()
def detector(seed: int = 0) -> ClipDetector:
    """Random weights, BN and thresholds as training could leave them, class scores spread over (0, 1)."""
    torch.manual_seed(seed)
    model = build_detector(ARCHITECTURE, SYNTHETIC_CLASS_NAMES).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(1.0, 2.0)
            module.bias.normal_(0.3, 0.2)
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.02, 0.1)  # type: ignore[union-attr]
    for _, activation in activations(model):
        activation.log_theta.uniform_(0.0, 1.0)
    for branch in model.model[-1].cv3:
        branch[-1].weight.normal_(0, 0.3)
        branch[-1].bias.fill_(-1.0)
    return model


def write_model_yaml(path: Path) -> Path:
    """``ARCHITECTURE`` as a file, for the commands that take one."""
    path.write_text(yaml.safe_dump(ARCHITECTURE), encoding="utf-8")
    return path


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """True if two sets of tensors have the same names and bits."""
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of everything under a folder."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

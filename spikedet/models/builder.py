"""Detectors built through ultralytics from a checked YAML, with clip activations in place of ReLU and LeakyReLU.

This package is the only importer of ultralytics' model code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import RepConv
from ultralytics.nn.tasks import DetectionModel

from spikedet.common.errors import ConfigError
from spikedet.common.precision import autocast
from spikedet.config import Precision
from spikedet.models.architecture import check_architecture
from spikedet.models.blocks import known_to_ultralytics
from spikedet.models.extent import Extent, on_meta
from spikedet.quantization import ClippedReLU, QCActivation

BATCH_NORM_EPS = 1e-3
"""Of ultralytics' batch normalization."""
UNCLIPPED = 1e4
"""A threshold that no activation reaches."""

ExtraLoss = Callable[[Tensor, dict[str, Tensor]], Tensor]


class ClipDetector(DetectionModel):
    """An ultralytics detection model whose training forward may run in bfloat16; the loss stays float32.

    With ``steps`` it runs over time: that many forward passes on the same images, in which activations may remember
    what was before, and the mean of the head's raw maps over the passes.

    Attributes:
        precision: of the training forward.
        steps: real time steps of a network over time; 0 for a network without time.
        learning: runs the steps of a training over time and returns the loss, see ``training.current_step``; None takes
            the loss of the mean over all steps.
        extra_losses: more losses of a batch by name, from its images and the head's raw maps.
    """

    precision: Precision = "fp32"
    steps: int = 0
    learning: Callable[..., Any] | None = None
    extra_losses: Mapping[str, ExtraLoss] = MappingProxyType({})

    def loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        """The ultralytics criterion on ``batch``; a forward in ``precision`` first when ``preds`` is None.

        Where the network has a ``learning``, that is asked instead.
        """
        if preds is None and self.learning is not None:
            return self.learning(self, batch["img"], lambda maps: self.loss(batch, maps))
        if preds is None:
            with autocast(batch["img"].device, self.precision):
                preds = self(batch["img"])
            preds = to_float32(preds)
        loss, items = super().loss(batch, preds)
        for name, extra in self.extra_losses.items():
            more = extra(batch["img"], preds)
            loss = torch.cat([loss, more.view(1) * len(batch["img"])])  # the criterion's are sums over images too
            items = {**items, name: more.detach()}
        return loss, items

    def _predict_once(self, x: Tensor, profile: bool = False, embed: Any = None) -> Any:
        """One forward pass, or the mean over ``steps`` of them, decoded by the head where it does not train."""
        if not self.steps:
            return super()._predict_once(x, profile, embed)
        head, decodes = self.model[-1], not self.model[-1].training
        with self.time() as step:
            passes = [step(x) for _ in range(self.steps)]
        maps = {name: torch.stack([one[name] for one in passes]).mean(0) for name in ("boxes", "scores")}
        maps["feats"] = passes[-1]["feats"]  # their shapes alone are looked at
        return (head._inference(maps), maps) if decodes else maps

    @contextmanager
    def time(self) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
        """One run over time: gives a function that takes the images one step further, to the head's raw maps."""
        head, training = self.model[-1], self.model[-1].training
        _reset_states_(self)
        try:
            head.training = True  # it gives raw maps then; its children stay as they are
            yield super()._predict_once
        finally:
            head.training = training
            _reset_states_(self)


def _reset_states_(model: nn.Module) -> None:
    """Let every activation forget what it remembers from one time step to the next."""
    for _, activation in activations(model):
        activation.reset()


def to_float32(value: Any) -> Any:
    """Every tensor in nested mappings and sequences as float32."""
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return {key: to_float32(item) for key, item in value.items()}
    return type(value)(to_float32(item) for item in value) if isinstance(value, (list, tuple)) else value


def build_detector(architecture: dict[str, Any], class_names: Sequence[str], *, theta: float = 4.0) -> ClipDetector:
    """A source ANN: every activation its own ``ClippedReLU`` (ultralytics shares one object for the whole model).

    Args:
        architecture: checked by ``check_architecture``.
        class_names: in label order.
        theta: initial threshold.

    Raises:
        ConfigError: it cannot be built, or takes more memory than is free.
    """
    _, extent = build_skeleton(architecture, class_names)
    extent.require(ConfigError, "the model")
    return _built(architecture, class_names, theta)


def build_skeleton(architecture: dict[str, Any], class_names: Sequence[str]) -> tuple[ClipDetector, Extent]:
    """The same network without values, on the meta device, and what it takes; it needs next to no memory.

    Raises:
        ConfigError: it cannot be built.
    """
    with on_meta() as extent:
        model = _built(architecture, class_names, 1.0)
    extent.parameters = sum(value.numel() for value in model.state_dict().values())
    return model, extent


def _built(architecture: dict[str, Any], class_names: Sequence[str], theta: float) -> ClipDetector:
    check_architecture(architecture, "model")
    try:
        with known_to_ultralytics(architecture) as readable:
            model = ClipDetector({"nc": 1, **readable}, ch=3, nc=len(class_names), verbose=False)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise ConfigError(
            f"the model cannot be built from its YAML ({error}); check channels and layer indices"
        ) from error
    model.names = dict(enumerate(class_names))
    slope = max((m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)), default=0.0)

    def clip(old: nn.Module, channels: int) -> nn.Module:
        both_sides = isinstance(old, nn.Identity)
        return ClippedReLU(channels, theta, 1.0 if both_sides else slope)

    # RepConv has SiLU: ultralytics does not give it the YAML's activation.
    replace_activations_(model, (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.Identity), clip)
    return model


def replace_activations_(
    model: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...], make: Callable[[Any, int], nn.Module]
) -> None:
    """Replace in place the activation of every Conv and RepConv whose type is ``kind`` by ``make(old, channels)``.

    The branches of a RepConv are summed before its activation and have none of their own.
    """
    branches = {branch for module in model.modules() if isinstance(module, RepConv) for branch in module.children()}
    for module in model.modules():
        activation = getattr(module, "act", None)
        if isinstance(activation, kind) and module not in branches:
            branch: Any = module.conv1 if isinstance(module, RepConv) and not hasattr(module, "conv") else module
            convolution = branch.conv
            assert isinstance(convolution, nn.Conv2d)
            module.act = make(activation, convolution.out_channels)


def activations(model: nn.Module) -> Iterator[tuple[str, ClippedReLU]]:
    """Qualified name and module of every clip or QC activation, in definition order."""
    for name, module in model.named_modules():
        if isinstance(module, ClippedReLU):
            yield name, module


def as_qc(model: ClipDetector, T: int, noise: float = 0.0) -> ClipDetector:
    """A copy with QC activations at T levels, same weights and thetas."""
    return over_time(model, model.steps, lambda old: QCActivation.from_clip(old, T=T, noise=noise))


def over_time(model: ClipDetector, steps: int, make: Callable[[ClippedReLU], ClippedReLU]) -> ClipDetector:
    """A copy that runs over time: ``steps`` passes on the same images, activations exchanged by ``make(old)``.

    An activation that remembers keeps its state in plain attributes; its ``reset`` drops them, and is called before the
    first and after the last step of every batch.
    """
    made = copy.deepcopy(model)
    made.steps = steps
    replace_activations_(made, ClippedReLU, lambda old, _: make(old))
    return made

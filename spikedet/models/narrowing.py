"""Structured pruning: a narrower network's start from a wider one of the same layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Concat, Conv

from spikedet.common.errors import ConfigError
from spikedet.models.blocks import Add, DirectDetect
from spikedet.models.builder import BATCH_NORM_EPS, ClipDetector, build_skeleton
from spikedet.models.imported import Imported

_PASSES = (nn.MaxPool2d, nn.AvgPool2d, nn.Upsample, nn.ZeroPad2d, nn.Identity)
"""Modules whose output has the channels of their input."""

_IMAGE = -1
"""Index of the input image, where indices of convolutions are expected."""


@dataclass
class _Graph:
    """The convolutions that two networks have in common, by index of their layer.

    Attributes:
        wide: output channels in the wide network.
        narrow: output channels in the narrow network.
        tied: convolutions that must keep the same channels, because an Add sums their outputs.
        slopes: slopes of the narrow network's activations below zero.
        reads: name of each weight -> convolutions whose channels it reads, in the order of its input axis.
    """

    wide: dict[int, int] = field(default_factory=lambda: {_IMAGE: 3})
    narrow: dict[int, int] = field(default_factory=lambda: {_IMAGE: 3})
    tied: dict[int, frozenset[int]] = field(default_factory=lambda: {_IMAGE: frozenset({_IMAGE})})
    slopes: dict[int, float] = field(default_factory=dict)
    reads: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def tie_(self, inputs: Sequence[tuple[int, ...]]) -> bool:
        """Tie the inputs of an Add, in place; False if they are not joined from parts of the same channels."""
        for convolutions in zip(*inputs, strict=False):
            together = frozenset[int]().union(*(self.tied[index] for index in convolutions))
            self.tied |= dict.fromkeys(together, together)
        return len({tuple((self.wide[index], self.narrow[index]) for index in each) for each in inputs}) == 1


@torch.no_grad()
def narrowed(start: Imported, model: ClipDetector) -> Imported:
    """Keep the most important channels of a wider network, in their order.

    Convolutions whose outputs meet in an Add keep the same channels: those with the largest sum of importances.
    Statistics of batch normalization stay as they are, although activations change: fit them again.

    Args:
        start: the wider network.
        model: a narrower network of the same layers.

    Returns:
        The start, with tensors of the model's shapes except for the number of classes. The start unchanged if the
        layers differ, if no layer is narrower, or if one is not Conv, Concat, Add, Upsample, a pool or DirectDetect.
    """
    try:
        wide, extent = build_skeleton(start.architecture, start.class_names)
        extent.require(ConfigError, "the wider model")
    except ConfigError:
        return start
    graph, own = _common_graph(wide, model), wide.state_dict()
    tensors = {name: start.tensors.get(name, torch.zeros(value.shape)) for name, value in own.items()}
    strange = [n for n, value in own.items() if tensors[n].shape != value.shape and not n.endswith("log_theta")]
    if graph is None or graph.wide == graph.narrow or strange:
        return start
    scores, kept = importances(graph, tensors), {}
    for index, tied in graph.tied.items():
        order = torch.stack([scores[i] for i in tied]).sum(0).argsort(descending=True, stable=True)
        kept[index] = order[: graph.narrow[index]].sort().values
    made = {name: _cut(name, value, graph, kept) for name, value in tensors.items() if name in start.tensors}
    return replace(start, tensors=made)


def importances(graph: _Graph, tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Importance of every output channel: the error that the next layers make without it.

    ``I_c^2 = Var(sigma(x_c)) sum_r ||w_rc||^2,  x_c ~ N(beta_c, gamma_c^2)``

    w_rc are the input slices of all filters r that read channel c, batch normalization folded: filters are pruned by
    what the next layer makes of them, as in Luo et al., "ThiNet", ICCV 2017. The variance of an activation follows from
    batch normalization as in Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
    ICCV 2019. The mean does not count: it is made up for when normalization is fitted again.

    Returns:
        ``[C]`` by index of the convolution.
    """
    read = {index: torch.zeros(width) for index, width in graph.wide.items()}
    for name, convolutions in graph.reads.items():
        norm, weight = name.removesuffix("conv.weight") + "bn", tensors[name]
        if f"{norm}.weight" in tensors:  # the head has none
            scale = tensors[f"{norm}.weight"] * torch.rsqrt(tensors[f"{norm}.running_var"] + BATCH_NORM_EPS)
            weight = weight * scale.view(-1, 1, 1, 1)
        parts = weight.square().sum((0, 2, 3)).split([graph.wide[index] for index in convolutions])
        for index, part in zip(convolutions, parts, strict=True):
            for tied in graph.tied[index]:  # they are read as one sum
                read[tied] += part
    variances = {_IMAGE: torch.ones(3)}
    for index, slope in graph.slopes.items():
        gamma, beta = tensors[f"model.{index}.bn.weight"], tensors[f"model.{index}.bn.bias"]
        variances[index] = _variance(gamma, beta, slope)
    return {index: (variances[index] * read[index]).sqrt() for index in graph.wide}


def _variance(gamma: Tensor, beta: Tensor, slope: float) -> Tensor:
    """Variance of ``slope x + (1 - slope) max(x, 0)`` where x is normal with mean beta and deviation gamma, ``[C]``."""
    a = beta.double() / gamma.double().abs().clamp_min(1e-12)
    below, density = torch.special.ndtr(a), torch.exp(-a.square() / 2) / math.sqrt(2 * math.pi)
    relu = ((a.square() + 1) * below + a * density - (a * below + density).square()).clamp_min(0)
    return (gamma.square() * (slope**2 + (1 - slope) ** 2 * relu + 2 * slope * (1 - slope) * below)).float()


def _cut(name: str, value: Tensor, graph: _Graph, kept: Mapping[int, Tensor]) -> Tensor:
    """The kept channels of a tensor: along its first axis, and along the input axis of a weight."""
    index = int(name.split(".")[1])
    if index in kept and value.ndim and len(value) == graph.wide[index]:
        value = value[kept[index]]
    if name in graph.reads:
        masks = [torch.zeros(graph.wide[i], dtype=torch.bool).index_fill(0, kept[i], True) for i in graph.reads[name]]
        value = value[:, torch.cat(masks)]
    return value


def _common_graph(wide: ClipDetector, narrow: ClipDetector) -> _Graph | None:
    """The convolutions of both networks, or None where their layers differ or have no rule."""
    forms = [_form(layer) for layer in wide.model]
    if None in forms or forms != [_form(layer) for layer in narrow.model]:
        return None
    graph, outputs = _Graph(), list[tuple[int, ...]]()
    for index, (layer, other) in enumerate(zip(wide.model, narrow.model, strict=True)):
        sources = layer.f if isinstance(layer.f, list) else [layer.f]
        positions = [index + source if source < 0 else source for source in sources]
        inputs = [outputs[position] if position >= 0 else (_IMAGE,) for position in positions]
        output = inputs[0]
        if isinstance(layer, Conv):
            output = (index,)
            graph.wide[index], graph.narrow[index] = layer.conv.out_channels, other.conv.out_channels
            graph.tied[index], graph.slopes[index] = frozenset(output), other.act.slope
            graph.reads[f"model.{index}.conv.weight"] = inputs[0]
        elif isinstance(layer, Concat):
            output = tuple(convolution for each in inputs for convolution in each)
        elif isinstance(layer, Add) and not graph.tie_(inputs):
            return None
        elif isinstance(layer, DirectDetect):
            for branch in ("cv2", "cv3"):
                graph.reads |= {f"model.{index}.{branch}.{i}.0.weight": each for i, each in enumerate(inputs)}
        outputs.append(output)
    return graph if all(graph.narrow[index] <= graph.wide[index] for index in graph.wide) else None


def _form(layer: Any) -> tuple[Any, ...] | None:
    """All of a layer but its channels; None if there is no rule for it."""
    if type(layer) is Conv and layer.conv.groups == 1:
        conv = layer.conv
        return Conv, layer.f, conv.kernel_size, conv.stride, conv.padding, conv.dilation
    if type(layer) in (Add, DirectDetect) or (type(layer) is Concat and layer.d == 1):
        return type(layer), layer.f
    return (repr(layer), layer.f) if isinstance(layer, _PASSES) else None

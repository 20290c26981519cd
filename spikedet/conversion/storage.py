"""Converted networks in checkpoints: a graph and its tensors, both checked before a value is taken over.

Files of format 1 have no graph; theirs is converted again from their architecture, without values.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from spikedet.checkpoint.metadata import FORMAT, WRITTEN
from spikedet.checkpoint.tensors import require_fit
from spikedet.common.errors import CheckpointError, ConfigError, SpikedetError
from spikedet.conversion.converter import to_spiking
from spikedet.conversion.stored_graph import graph_of, network_of
from spikedet.models.architecture import check_architecture
from spikedet.models.builder import build_skeleton
from spikedet.models.extent import Extent, require_whole_cells
from spikedet.snn import SpikingConv, SpikingNetwork
from spikedet.snn.layers import Convolution
from spikedet.snn.operations import Add, Slice

LARGEST_SIDE = 2**15
"""Of any map."""
Shapes = dict[str, tuple[int, int, int]]


def save_spiking(path: Path, network: SpikingNetwork, meta: CheckpointMeta, *, keep: bool = False) -> Path:
    """Write a converted network; ``keep`` as in ``save_checkpoint``."""
    meta = dataclasses.replace(meta, graph=graph_of(network), format=FORMAT if network.group else WRITTEN)
    return save_checkpoint(path, network.tensors(), meta, keep=keep)


def load_spiking(path: Path) -> tuple[SpikingNetwork, CheckpointMeta]:
    """Read a converted network.

    Raises:
        CheckpointError: an ANN checkpoint, a graph or tensors that do not fit together, or too large a network.
        ConfigError: its architecture names anything outside the whitelist.
    """
    tensors, meta = load_checkpoint(path)
    if not meta.spiking or meta.T is None or meta.neuron is None:
        raise CheckpointError(f"{path}: not a converted network (stage {meta.stage}); run spikedet convert first")
    check_architecture(meta.architecture, str(path))
    if meta.graph is not None:
        network = network_of(path, meta.graph, tensors, meta.T)
    else:
        skeleton, _ = build_skeleton(meta.architecture, meta.class_names)
        network = to_spiking(
            skeleton, meta.T, neuron=meta.neuron, delay=meta.delay, max_pool=meta.max_pool, linear=meta.linear
        )
    shapes = _shapes(path, network, meta)
    _take_potentials_per_neuron_(network, tensors, shapes)
    require_fit(path, tensors, network.tensors())
    _extent(network, shapes, meta.image_size).require(CheckpointError, str(path))
    network.to_empty(device="cpu").load_tensors(tensors)
    return network, meta


def require_one_window(network: SpikingNetwork, path: Path) -> None:
    """Raise ConfigError where membranes carry over between groups of steps: rates of one window do not tell all."""
    if network.group:
        raise ConfigError(
            f"{path}: an SFA network of {network.T // network.group} real time steps, whose membranes carry over; "
            "calibration and explain work on networks of one window (sfa at T = 1, or conversion)"
        )


def _shapes(path: Path, network: SpikingNetwork, meta: CheckpointMeta) -> Shapes:
    """Shape of every node's output. Raises CheckpointError where layers do not fit each other, image or classes."""
    require_whole_cells(path, meta.image_size, network.strides)
    try:
        shapes = network.shapes((meta.image_size, meta.image_size))
        problem = next((p for node in network.nodes if (p := _problem(node.module, node.inputs, shapes))), None)
        problem = problem or _wrong_outputs(network, shapes, len(meta.class_names), meta.image_size)
    except (RuntimeError, ValueError, SpikedetError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        raise CheckpointError(f"{path}: its layers do not fit each other: {problem}")
    return shapes


def _problem(module: nn.Module, inputs: tuple[str, ...], shapes: Shapes) -> str | None:
    """What is wrong with what a layer reads, if anything."""
    channels, *sides = shapes[inputs[0]]
    if min(sides) < 1 or max(sides) > LARGEST_SIDE:
        return f"{inputs[0]} is {sides[0]} x {sides[1]}; expected sides from 1 to {LARGEST_SIDE}"
    match module:
        case Convolution():
            takes = module.weight.shape[1] * module.groups
            if takes != channels or len(module.weight) % module.groups:
                return f"a layer that takes {takes} channels reads the {channels} of {inputs[0]}"
        case Slice() if module.stop > channels or module.start >= module.stop:
            return f"channels {module.start} to {module.stop} are taken from the {channels} of {inputs[0]}"
        case Add() if len({shapes[name] for name in inputs}) > 1:
            return f"{' and '.join(inputs)} are added, whose shapes differ"
    return None


def _wrong_outputs(network: SpikingNetwork, shapes: Shapes, classes: int, image_size: int) -> str | None:
    """What is wrong with the output layers, if anything."""
    boxes, scores = ([shapes[name] for name in names] for names in (network.box_readouts, network.class_readouts))
    if not len(boxes) == len(scores) == len(network.strides):
        return "it has not one output for boxes and one for classes for each stride"
    if any(shape[0] != classes for shape in scores):
        return f"its outputs are of {scores[0][0]} classes; it names {classes}"
    if len({shape[0] for shape in boxes}) > 1 or boxes[0][0] % 4:
        return "its outputs of boxes have not four sides of the same number of bins"
    if any(box[1:] != score[1:] for box, score in zip(boxes, scores, strict=True)):
        return "its outputs for boxes and for classes have other sizes"
    return None


def _take_potentials_per_neuron_(network: SpikingNetwork, tensors: Mapping[str, Tensor], shapes: Shapes) -> None:
    """Layers whose initial potentials the file gives per neuron get such, of the shape at the image's size."""
    for node, layer in network.spiking():
        stored = tensors.get(f"{node.name}.u0")
        if stored is not None and stored.ndim == 3:
            layer.u0 = nn.Parameter(torch.empty(shapes[node.name], device="meta"))


def _extent(network: SpikingNetwork, shapes: Shapes, image_size: int) -> Extent:
    """What one time step of one image takes, and the potentials of all layers."""
    extent = Extent(image_size, sum(value.numel() for value in network.tensors().values()))
    for node in network.nodes:
        made = math.prod(shapes[node.name])
        extent.values = max(extent.values, made + sum(math.prod(shapes[name]) for name in node.inputs))
        if isinstance(node.module, Convolution):
            extent.operations += node.module.weight[0].numel() * made
        if isinstance(node.module, SpikingConv) or network.is_constant(node.name):
            extent.parameters += made  # potentials, and what is computed once and kept
    return extent

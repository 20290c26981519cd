"""A converted network: an ordered graph of spiking layers, independent of the model it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikedet.common.errors import SpikedetError
from spikedet.config import Neuron
from spikedet.quantization import leaky_clip, qc_quantize
from spikedet.snn.layers import Readout, SpikingConv
from spikedet.snn.operations import MaxPool, SpikeOp

if TYPE_CHECKING:
    from spikedet.snn.backends.backend import Backend
    from spikedet.snn.simulator import Readings

IMAGE = "image"
"""Name of the network's input; it is constant over time (direct encoding, section III d)."""

PIXELS = "pixels"
"""Name of the node that makes whole numbers of the image's values k / 255, in networks of fixed point."""


@dataclass(frozen=True)
class Node:
    """One step of the graph: a module and the names of the nodes it reads."""

    name: str
    inputs: tuple[str, ...]
    module: nn.Module


class SpikingNetwork(nn.Module):
    """Spiking layers in execution order.

    Args:
        nodes: topologically sorted; every input is ``IMAGE`` or an earlier node.
        box_readouts: names of the output layers of the box logits, one per scale.
        class_readouts: the same for the class logits.
        strides: pixels per cell of each scale.
        T: time steps the network was converted for.
        group: length of the groups of steps into which T is divided (SFA at several real time steps, D sub-steps each);
            0 for one window without groups. Every firing delay is one group then.
        leak: what is left of a membrane potential from one group to the next.

    Raises:
        ValueError: T is not made of whole groups, or a layer's firing delay is another.
    """

    def __init__(
        self,
        nodes: list[Node],
        box_readouts: list[str],
        class_readouts: list[str],
        strides: Tensor,
        T: int,
        *,
        group: int = 0,
        leak: float = 0.0,
    ) -> None:
        super().__init__()
        if group and (T % group or any(getattr(node.module, "delay", group) != group for node in nodes)):
            raise ValueError(f"T = {T} and every firing delay must be made of groups of {group} steps")
        self.group, self.leak = group, leak
        self.nodes = nodes
        self.box_readouts, self.class_readouts, self.strides, self.T = box_readouts, class_readouts, strides, T
        self._modules.update({node.name.replace(".", "/"): node.module for node in nodes})
        self.starts = self._window_starts()
        self._constant = {IMAGE}
        for node in nodes:
            if isinstance(node.module, SpikeOp) and self._constant.issuperset(node.inputs):
                self._constant.add(node.name)

    def forward(
        self, images: Tensor, t: int | Sequence[int] = (), *, backend: Backend | None = None
    ) -> dict[int, Readings]:
        """Simulate on ``[N, 3, H, W]`` in [0, 1]: ``network(images, t=[2, 4, 8])``.

        Args:
            images: constant over time.
            t: time steps to read out; T unless given.
            backend: made for this network; dense float32 convolutions unless given.

        Returns:
            By time step, logits by name of the output layer, and spikes.

        Raises:
            ValueError: a time step outside 1..T.
        """
        from spikedet.snn.simulator import simulate  # it knows networks, so this module cannot begin with it

        steps = [t] if isinstance(t, int) else list(t) or [self.T]
        return {reading.t: reading for reading in simulate(self, images, steps, T=self.T, backend=backend)}

    def _window_starts(self) -> dict[str, int]:
        """Global step at which each node's input window begins; branches wait for the latest of their inputs."""
        return self._before(lambda node: getattr(node.module, "delay", 0))

    def _before(self, count: Callable[[Node], int]) -> dict[str, int]:
        """What nodes before each node count together, on the way from the image where that is most."""
        with_it = {IMAGE: 0}
        before = {}
        for node in self.nodes:
            before[node.name] = max(with_it[name] for name in node.inputs)
            with_it[node.name] = before[node.name] + count(node)
        return before

    def set_delays_(self, delays: Mapping[str, int]) -> None:
        """Change the firing delays of these layers, in place, and with them when windows begin."""
        for node, layer in self.spiking():
            layer.delay = delays.get(node.name, layer.delay)
        self.starts = self._window_starts()

    def latency(self, t: int) -> int:
        """L: steps from the first input to the end of a read-out after t steps of the output layers' windows."""
        return max(self.starts[name] for name in self.box_readouts + self.class_readouts) + t

    @property
    def depth(self) -> int:
        """Spiking layers one behind the other, on the longest way from the image to an output."""
        layers = self._before(lambda node: isinstance(node.module, SpikingConv))
        return max(layers[name] for name in self.box_readouts + self.class_readouts)

    def spiking(self) -> Iterator[tuple[Node, SpikingConv]]:
        """The nodes with neurons, in execution order."""
        for node in self.nodes:
            if isinstance(node.module, SpikingConv):
                yield node, node.module

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @property
    def neuron(self) -> Neuron:
        """Of its layers with an activation, all of one kind; linear layers are asymmetric whatever that is."""
        return next((layer.neuron for _, layer in self.spiking() if not layer.linear), "if")

    @property
    def fixed_point(self) -> bool:
        """Whether none of its sums is rounded, see ``conversion.fixed_point``."""
        return any(node.name == PIXELS for node in self.nodes)

    def consumers(self) -> dict[str, list[Node]]:
        """Nodes that read each node (or the image)."""
        readers: dict[str, list[Node]] = {IMAGE: []}
        for node in self.nodes:
            readers.setdefault(node.name, [])
            for name in node.inputs:
                readers[name].append(node)
        return readers

    def shapes(self, image_hw: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """``[C, H, W]`` that every node sends for images of this height and width; nothing is computed.

        Raises:
            SpikedetError: maps are too small or too large for a node, or do not fit each other.
        """
        found: dict[str, tuple[int, int, int]] = {IMAGE: (3, *image_hw)}
        for node in self.nodes:
            try:
                if isinstance(node.module, (SpikingConv, Readout)):
                    _, height, width = found[node.inputs[0]]
                    found[node.name] = node.module.output_shape(1, height, width)[1:]
                else:
                    made = node.module([torch.empty(1, 0, *found[name]) for name in node.inputs])  # no images, no work
                    found[node.name] = (made.shape[2], made.shape[3], made.shape[4])
            except (RuntimeError, TypeError, ValueError) as error:
                raise _misfit(node.name, found, node.inputs, image_hw) from error
            if min(found[node.name]) < 1:
                raise _misfit(node.name, found, node.inputs, image_hw)
        return found

    def neuron_count(self, image_hw: tuple[int, int]) -> int:
        """Neurons of all layers for images of this height and width."""
        shapes = self.shapes(image_hw)
        return sum(math.prod(shapes[node.name]) for node, _ in self.spiking())

    def is_constant(self, name: str) -> bool:
        """True if this node's output does not change over time: the image, and linear operations on it alone."""
        return name in self._constant

    def tensors(self) -> dict[str, Tensor]:
        """Weights, biases, thresholds and initial potentials by ``LAYER.tensor``, for a checkpoint."""
        return {key.replace("/", "."): value for key, value in self.state_dict().items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what ``tensors`` returned. Raises RuntimeError naming what is missing, extra or of another shape."""
        known = {key.replace("/", "."): key for key in self.state_dict()}
        self.load_state_dict({known.get(name, name): value for name, value in tensors.items()})


def _misfit(
    node: str, shapes: Mapping[str, tuple[int, ...]], inputs: tuple[str, ...], image_hw: tuple[int, int]
) -> SpikedetError:
    given = " and ".join("x".join(map(str, shapes[name])) for name in inputs)
    return SpikedetError(
        f"{node}: cannot use inputs of {given} (images of {image_hw[0]} x {image_hw[1]}); use another size"
    )


NodeActivation = Callable[[Node, Tensor], Tensor]
"""Output of a spiking layer for its mean input potential, and of a max-pooling for the maxima of its input."""


@dataclass(frozen=True)
class Means:
    """Every node's mean over time, or its one value where there is no time.

    Attributes:
        potentials: mean input potential of every spiking layer (pre-activation), ``[N, C, H, W]``.
        outputs: output of every node, ``[N, C, H, W]``; logits for output layers.
    """

    potentials: dict[str, Tensor]
    outputs: dict[str, Tensor]


def mean_forward(
    network: SpikingNetwork, images: Tensor, activation: NodeActivation, known: Mapping[str, Tensor] | None = None
) -> Means:
    """A network in means instead of steps: all that is linear is computed, the rest is asked for; differentiable.

    Args:
        network: its weights are used.
        images: ``[N, 3, H, W]``.
        activation: of spiking layers and of max-pooling.
        known: outputs of nodes that are not computed again.
    """
    outputs, potentials = {IMAGE: images, **(known or {})}, {}
    for node in network.nodes:
        if node.name in outputs:
            continue
        module = node.module
        if isinstance(module, SpikeOp):
            value = module([outputs[name].unsqueeze(0) for name in node.inputs])[0]
            outputs[node.name] = activation(node, value) if isinstance(module, MaxPool) else value
        elif isinstance(module, SpikingConv):
            potentials[node.name] = module.potential(outputs[node.inputs[0]].unsqueeze(0))[0]
            outputs[node.name] = activation(node, potentials[node.name])
        else:
            assert isinstance(module, Readout)
            outputs[node.name] = module(outputs[node.inputs[0]])
    return Means(potentials, outputs)


def ann_activation(T: int | None) -> NodeActivation:
    """The activation of the QC-ANN (T levels) or of the clip ANN (``T=None``); maxima stay what they are."""

    def activation(node: Node, value: Tensor) -> Tensor:
        return layer_activation(node.module, value, T) if isinstance(node.module, SpikingConv) else value

    return activation


@torch.no_grad()
def qc_forward(network: SpikingNetwork, images: Tensor, T: int | None) -> dict[str, Tensor]:
    """Activations of the QC-ANN that has this network's weights (T levels), or of its clip ANN (``T=None``).

    Args:
        network: with copied (not calibrated) weights.
        images: ``[N, 3, H, W]``.
        T: quantization levels.

    Returns:
        Output of every node by name: activations ``[N, C, H, W]``, logits for output layers.
    """
    return mean_forward(network, images, ann_activation(T)).outputs


def layer_activation(layer: SpikingConv, potential: Tensor, T: int | None) -> Tensor:
    """g (T levels) or the clip activation (``T=None``) of a layer's pre-activations ``[N, C, H, W]``."""
    if T is not None:
        return qc_quantize(potential, layer.theta, T, slope=layer.slope, waits=layer.delay >= T)
    return leaky_clip(potential, layer.theta, layer.slope)

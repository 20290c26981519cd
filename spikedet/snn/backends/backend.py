"""What a simulation asks of the code that does its arithmetic.

The simulation rules time: windows, delays, buffers, output layers. A backend rules representation: how a piece of spike
train looks (first axis: steps), how a layer's state looks, and how both are computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor

from spikedet.snn.layers import Readout, SpikingConv
from spikedet.snn.network import Node, SpikingNetwork
from spikedet.snn.operations import SpikeOp


class Backend(ABC):
    """Arithmetic of one network, its weights prepared.

    Attributes:
        name: as it is chosen by.
        network: what is simulated. Weights are prepared when the backend is made: a changed network needs a new one.
        about: precision and ways of computing, in words.
        why: why this backend was taken, if something chose it.
        needs: memory of the simulations that it has run, by image height and width, batch and chunk.
    """

    name: ClassVar[str]

    def __init__(self, network: SpikingNetwork, about: str) -> None:
        self.network, self.about, self.why = network, about, ""
        self.needs: dict[tuple[tuple[int, int], int, int], Any] = {}

    def __str__(self) -> str:
        return f"{self.name} backend: {self.about}" + (f" ({self.why})" if self.why else "")

    @abstractmethod
    def chunk(self, batch: int) -> int:
        """Time steps that are best simulated together, for this many images."""

    def images(self, images: Tensor) -> Tensor:
        """Images ``[N, 3, H, W]`` where the network's weights are."""
        return images.to(self.network.device)

    @abstractmethod
    def state(self, node: Node, layer: SpikingConv, batch: int, input_hw: tuple[int, int]) -> Any:
        """State of a layer before its first step, for this many input maps of this height and width."""

    @abstractmethod
    def constant_state(self, node: Node, layer: SpikingConv, x: Tensor) -> Any:
        """The same for an input ``[N, C, H, W]`` that never changes; it is convolved here, once."""

    @abstractmethod
    def again(self, node: Node, layer: SpikingConv, state: Any) -> Any:
        """A state before the first step for as many maps as ``state``; a constant input is not convolved again."""

    @abstractmethod
    def fire(
        self, node: Node, layer: SpikingConv, state: Any, piece: Tensor | None, steps: int, tail: int
    ) -> tuple[Tensor, Tensor]:
        """Let a layer run for ``steps`` steps of input and ``tail`` steps without.

        Args:
            node: the layer's node.
            layer: the layer.
            state: moves on in place.
            piece: ``steps`` steps of its input train; None for a constant input, and where there are no steps.
            steps: of input.
            tail: steps after the end of the input's window, in which a delayed layer still fires.

        Returns:
            The piece of train it sends, without the steps of the firing delay, and its spikes ``[K', N]``.
        """

    @abstractmethod
    def potential(self, node: Node, layer: SpikingConv, state: Any) -> Tensor:
        """Membrane potentials of a layer as they stand, ``[N, C, H, W]``, activation units: the state's own memory."""

    @abstractmethod
    def place_counts(self, node: Node, piece: Tensor, groups: Tensor) -> Tensor:
        """Spikes of either sign at every place, ``[G, K, N, H, W]`` whole numbers.

        Args:
            node: sends the train; a spiking layer or a max-pooling.
            piece: of its train, ``K`` steps.
            groups: ``[C]`` int64, the group 0 to G - 1 of every channel.
        """

    @abstractmethod
    def combine(self, node: Node, module: SpikeOp, pieces: list[Tensor], memory: dict[str, Any]) -> Tensor:
        """An operation on pieces of train; ``memory`` is the node's own in one simulation, empty at its first step."""

    @abstractmethod
    def constant_piece(self, x: Tensor, steps: int) -> Tensor:
        """A constant input ``[N, C, H, W]`` as a piece of train."""

    @abstractmethod
    def accumulate(self, total: Tensor | None, piece: Tensor) -> Tensor:
        """A running sum over the steps of a train, with one more piece; ``total`` may be changed in place."""

    @abstractmethod
    def mean(self, name: str, total: Tensor, t: int) -> Tensor:
        """Mean over t steps ``[N, C, H, W]``, activation units, float32, of a running sum of what this node sends."""

    def read(self, node: Node, module: Readout, total: Tensor, t: int) -> Tensor:
        """Logits ``[N, C, H, W]``, float32, of a running sum of its input over t steps."""
        with float32():
            return module(self.mean(node.inputs[0], total, t))


def float32() -> AbstractContextManager[None]:
    """Convolutions in true float32 on a GPU too, where TF32 would keep 10 bits of it."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)

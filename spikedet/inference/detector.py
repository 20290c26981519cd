"""The Python interface: a spiking detector with outputs per time step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.errors import ConfigError, DataError
from spikedet.common.objects import given
from spikedet.common.resources import find_weights
from spikedet.config import DEFAULT_WEIGHTS, SimulationConfig
from spikedet.data.images import read_image
from spikedet.data.transforms import to_input
from spikedet.detections import Detections
from spikedet.inference.early_exit import Stability
from spikedet.inference.network import Network, Prediction, SnnNetwork, load_network, require_steps
from spikedet.models.postprocess import to_detections
from spikedet.snn import SpikingNetwork

Image = npt.NDArray[np.uint8] | str | Path


@dataclass(frozen=True)
class StepOutput:
    """What a detector says of one image at one time step.

    Attributes:
        t: steps that were read out; 0 for a network without time.
        detections: in pixels of the image.
        spikes: of all layers in the first t steps of their windows; None without time.
        firing_rate: spikes per neuron and step; None without time.
        sops: synaptic operations in the same steps; None where they were not counted.
    """

    t: int
    detections: Detections
    spikes: int | None = None
    firing_rate: float | None = None
    sops: int | None = None


class SpikingDetector:
    """A trained detector, spiking or not, by checkpoint.

    Args:
        network: as ``load_network`` gives it, or a ``SpikingNetwork`` in memory.
        meta: of a ``SpikingNetwork``: its classes, input size and the rest that a checkpoint says.

    Attributes:
        network: ``network(images, t=[2, 4, 8])`` gives outputs by t.
        ann_macs: multiply-accumulates of a spiking network's ANN for one image, to hold its SOPs against; else None.

    Examples:
        >>> detector = SpikingDetector.load("fine.safetensors")
        >>> found = detector("image.jpg", t=[2, 4, 8])
        >>> found[8].boxes_xyxy
    """

    def __init__(self, network: Network | SpikingNetwork, meta: CheckpointMeta | None = None) -> None:
        if isinstance(network, SpikingNetwork):
            if meta is None:
                raise ConfigError("a SpikingNetwork does not know its classes; give its CheckpointMeta too")
            network = SnnNetwork(network, meta)
        self.network = network
        self._neurons = network.neurons()
        self.ann_macs = network.ann_macs()

    @classmethod
    def load(cls, path: str | Path = DEFAULT_WEIGHTS, how: SimulationConfig | None = None) -> SpikingDetector:
        """Load any spikedet checkpoint.

        Args:
            path: the checkpoint, or the name of one that ships with the package.
            how: backend, mode (``SimulationConfig(mode="fast")``) and device of a converted network.

        Raises:
            CheckpointError: the file is missing, truncated, foreign, newer, or holds invalid weights.
            ConfigError: the backend or the device that was asked for is not there.
        """
        return cls(load_network(path if given(path) is not None else find_weights(path), how))

    def __str__(self) -> str:
        return f"{self.meta.model} ({self.meta.stage}), {self.network.describe(1)}"

    @property
    def meta(self) -> CheckpointMeta:
        """What the checkpoint says about itself."""
        return self.network.meta

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order."""
        return self.meta.class_names

    @property
    def T(self) -> int | None:
        """Time steps the network was converted for; None for a source ANN."""
        return self.meta.T

    def require_steps(self, t: Sequence[int]) -> list[int]:
        """The time steps that will be read out if these are asked for, none meaning T. Raises ConfigError beyond T."""
        return require_steps(self.network, t)

    @overload
    def __call__(
        self, image: Image, t: int | Sequence[int] | None = None, *, confidence: float = 0.25, iou: float = 0.7
    ) -> dict[int, Detections]: ...

    @overload
    def __call__(
        self, image: list[Image], t: int | Sequence[int] | None = None, *, confidence: float = 0.25, iou: float = 0.7
    ) -> list[dict[int, Detections]]: ...

    def __call__(
        self,
        image: Image | list[Image],
        t: int | Sequence[int] | None = None,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
    ) -> dict[int, Detections] | list[dict[int, Detections]]:
        """Detections by time step, from one simulation.

        Args:
            image: RGB ``[H, W, 3]`` uint8, or the path of an image; or a list of them, which gives a list.
            t: time steps to read out, each in 1..T; None reads at T.
            confidence: lowest score kept.
            iou: overlap above which the weaker of two boxes of a class is dropped.

        Returns:
            Detections in pixels of the image, by time step. The output of an ANN has the key 0.

        Raises:
            DataError: the image cannot be read, or an array is no RGB image.
            ConfigError: a time step beyond the network's T.
        """
        if isinstance(image, list):
            return [self(each, t, confidence=confidence, iou=iou) for each in image]
        return {output.t: output.detections for output in self.outputs(image, t, confidence=confidence, iou=iou)}

    def stream(
        self,
        image: Image,
        t: int | Sequence[int] | None = None,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
        stable_steps: int = 0,
    ) -> Iterator[tuple[int, Detections]]:
        """Detections of one image as the network finds them, step by step (lowest latency).

        Args:
            image: RGB ``[H, W, 3]`` uint8, or the path of an image.
            t: time steps to read out; None or none reads every step.
            confidence: lowest score kept.
            iou: overlap above which the weaker of two boxes of a class is dropped.
            stable_steps: early exit: the last output is the first that is the same as that many before it.

        Yields:
            Time step and detections, earliest first.

        Raises:
            DataError, ConfigError: as when called.
        """
        found = self._outputs(image, t, confidence, iou, 1)
        return ((output.t, output.detections) for output in _until_stable(found, Stability(stable_steps)))

    def outputs(
        self,
        image: Image,
        t: int | Sequence[int] | None = None,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
        stable_steps: int = 0,
        count_sops: bool = False,
    ) -> Iterator[StepOutput]:
        """As when called, with what the network spent on each output; ``stable_steps`` as in ``stream``.

        Without ``stable_steps`` the steps are simulated together; with it the last output alone comes. Counting
        synaptic operations takes a little longer.

        Raises:
            DataError, ConfigError: as when called.
        """
        found = self._outputs(image, t, confidence, iou, 1 if stable_steps else None, count_sops)
        if not stable_steps:
            return found
        *_, last = _until_stable(found, Stability(stable_steps))
        return iter([last])

    def _outputs(
        self,
        image: Image,
        t: int | Sequence[int] | None,
        confidence: float,
        iou: float,
        chunk: int | None,
        count_sops: bool = False,
    ) -> Iterator[StepOutput]:
        """All at once, or in chunks of steps; every step is read out then unless some are asked for."""
        pixels = read_image(Path(image)) if isinstance(image, (str, Path)) else _checked(image)
        every = list(range(1, (self.T or 0) + 1)) if chunk else []
        steps = require_steps(self.network, ([] if t is None else _as_steps(t)) or every)
        size = self.meta.image_size
        image_hw = (int(pixels.shape[0]), int(pixels.shape[1]))
        stream = self.network.stream(to_input([pixels], size), steps, chunk=chunk, count_sops=count_sops)
        return (
            self._output(step, prediction, to_detections(prediction.decoded, size, [image_hw], confidence, iou)[0])
            for step, prediction in stream
        )

    def _output(self, t: int, prediction: Prediction, found: Detections) -> StepOutput:
        if prediction.spikes is None or self._neurons is None:
            return StepOutput(t, found)
        spikes = int(prediction.spikes[0])
        sops = None if prediction.sops is None else int(prediction.sops[0])
        return StepOutput(t, found, spikes, spikes / (t * self._neurons), sops)


def _checked(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image, if it is one. Raises DataError else: another number format would come out black or noise."""
    found = np.asarray(image)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or not found.size:
        raise DataError(f"expected an image as RGB [H, W, 3] uint8, got {found.dtype} of shape {list(found.shape)}")
    return found


def _as_steps(t: int | Sequence[int]) -> list[int]:
    """One time step or several (a list, a tuple, a range, an array) as a list."""
    return [int(step) for step in np.atleast_1d(np.asarray(t))]


def _until_stable(found: Iterator[StepOutput], stability: Stability) -> Iterator[StepOutput]:
    for output in found:
        yield output
        if stability.reached(output.detections):
            return

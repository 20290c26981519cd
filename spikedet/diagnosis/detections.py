"""Detections and AP of several networks of one graph on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from spikedet.data import DetectionDataset
from spikedet.detections import Detections
from spikedet.evaluation import APMeasures, measure
from spikedet.models.postprocess import decode_maps, to_detections
from spikedet.snn import SpikingNetwork

Key = tuple[str, int | str | None]


@dataclass
class DetectionsByNetwork:
    """Detections image by image, by any key.

    Attributes:
        network: whose output layers are decoded.
        dataset: the images; every key must have seen all of them, in order.
        image_size: side of the network's input.
    """

    network: SpikingNetwork
    dataset: DetectionDataset
    image_size: int
    found: dict[Key, list[Detections]] = field(default_factory=dict)

    def add(self, key: Key, indices: Sequence[int], outputs: Mapping[str, Tensor]) -> None:
        """Output layers ``[N, C, H, W]`` by node (others may be there), for the images at these indices."""
        images_hw = [self.dataset.samples[i].image_hw for i in indices]
        decoded = decode_maps(self.network, outputs)
        self.found.setdefault(key, []).extend(to_detections(decoded, self.image_size, images_hw))

    def measures(self) -> dict[Key, APMeasures]:
        """AP of everything added."""
        return {key: measure(self.dataset, detections) for key, detections in self.found.items()}

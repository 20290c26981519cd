"""Datasets: images with boxes from VOC folders or made up on the spot."""

from spikedet.data.dataset import DetectionDataset, Sample
from spikedet.data.sources import is_synthetic, load_dataset, load_for

__all__ = ["DetectionDataset", "Sample", "is_synthetic", "load_dataset", "load_for"]

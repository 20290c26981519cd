"""Datasets: images with boxes from VOC folders or made up on the spot."""

from spikedet.data.dataset import DetectionDataset, Sample
from spikedet.data.sources import load_dataset

__all__ = ["DetectionDataset", "Sample", "load_dataset"]

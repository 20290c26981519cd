"""Statistics of batch normalization as the finished network meets them.

In Stage I a part of the activations stays unquantized, images are augmented, and averaged weights get averages of the
statistics of others. All three are over when the network is used, so means and variances are measured again.
"""

from __future__ import annotations

import torch
from torch import nn

from spikedet.data import DetectionDataset
from spikedet.data.transforms import to_input

IMAGES = 320
BATCH = 16


@torch.no_grad()
def measure_statistics_(network: nn.Module, images: DetectionDataset, image_size: int) -> None:
    """Set means and variances of every batch normalization, in place, to those of these images; all else evaluates.

    A mean is that of the batches' means; the last batch counts like the others.

    Args:
        network: its evaluation mode is what detects; it is left in it.
        images: read without augmentation.
        image_size: side of the square input.
    """
    norms = [module for module in network.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    device = next(network.parameters()).device
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over batches
        norm.train()
    for start in range(0, len(images), BATCH):
        pixels = [images.read_image(index) for index in range(start, min(start + BATCH, len(images)))]
        network(to_input(pixels, image_size).contiguous(memory_format=torch.channels_last).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()

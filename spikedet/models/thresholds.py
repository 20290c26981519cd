"""Thresholds of a whole network, set from a few images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikedet.data import DetectionDataset
from spikedet.data.transforms import to_input
from spikedet.models.builder import ClipDetector, activations
from spikedet.quantization import ClippedReLU, Unclipped, mean_square_best_theta


def fitted_levels(T: int) -> int:
    """For how many levels thresholds are fitted that T levels are going to have: half as many again.

    The least square error of activations clips more than detections bear; docs/training-log.md has the measurements.
    """
    return -(-3 * T // 2)


@torch.no_grad()
def set_mean_square_best_thetas_(model: ClipDetector, images: DetectionDataset, image_size: int, levels: int) -> None:
    """Set every threshold, in place, to the mean-square-best one for these levels on a few training images.

    Layer by layer in one pass, each on the activations that the thresholds before it give. Thresholds become per
    channel. Layers that do not clip keep theirs. All images are in memory together.
    """
    model.eval()
    inputs = to_input([images.read_image(i) for i in range(len(images))], image_size)

    def set_theta(activation: ClippedReLU, arguments: tuple[Tensor, ...]) -> None:
        (x,) = arguments
        activation.set_theta(mean_square_best_theta(x, levels, theta_max=activation.theta, slope=activation.slope))

    clipped = [activation for _, activation in activations(model) if not isinstance(activation, Unclipped)]
    hooks = [activation.register_forward_pre_hook(set_theta) for activation in clipped]
    model(inputs.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def set_largest_thetas_(model: ClipDetector, images: DetectionDataset, image_size: int, batch: int = 16) -> None:
    """Set every threshold, in place, to its channel's largest activation on a few training images.

    Channel-wise normalization (Kim et al., "Spiking-YOLO", AAAI 2020): weights scaled by the largest activations of the
    channels before and after them are, in activation units, thresholds at these activations. A channel that was silent
    on all images keeps its threshold.
    """
    inputs = to_input([images.read_image(i) for i in range(len(images))], image_size)
    largest: dict[str, Tensor] = {}
    for part in inputs.split(batch):
        for name, most in activation_outputs(model, part, lambda output: output.abs().amax((0, 2, 3))).items():
            largest[name] = torch.maximum(largest.get(name, most), most)
    for name, activation in list(activations(model)):
        activation.set_theta(torch.where(largest[name] > 0, largest[name], activation.theta))


def activation_outputs(
    model: ClipDetector, inputs: Tensor, keep: Callable[[Tensor], Tensor] = lambda output: output
) -> dict[str, Tensor]:
    """What is kept of the output ``[N, C, H, W]`` of every activation, by name, in evaluation mode."""
    found: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, arguments, output: found.update({name: keep(output)})

    hooks = [activation.register_forward_hook(keeping(name)) for name, activation in activations(model)]
    model.eval()(inputs)
    for hook in hooks:
        hook.remove()
    return found

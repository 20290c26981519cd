"""Thresholds of a whole network, set from a few pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikedet.data import DetectionDataset
from spikedet.data.transforms import to_input
from spikedet.models.builder import ClipDetector, activations
from spikedet.quantization import mean_square_best_theta


@torch.no_grad()
def set_mean_square_best_thetas_(
    model: ClipDetector, pictures: DetectionDataset, image_size: int, T: int, batch: int = 16
) -> None:
    """Set every threshold, in place, to the mean-square-best one for T levels on a few training pictures.

    Layer by layer, each on the activations that the thresholds before it give; thresholds become per channel.
    """
    model.eval()
    inputs = to_input([pictures.read_image(i) for i in range(len(pictures))], image_size)
    for _, activation in list(activations(model)):
        seen: list[Tensor] = []  # one layer at a time, so that memory holds one layer's pre-activations
        hook = activation.register_forward_pre_hook(_collector(seen))
        for part in inputs.split(batch):
            model(part)
        hook.remove()
        activation.set_theta(
            mean_square_best_theta(torch.cat(seen), T, theta_max=activation.theta, slope=activation.slope)
        )


@torch.no_grad()
def set_largest_thetas_(model: ClipDetector, pictures: DetectionDataset, image_size: int, batch: int = 16) -> None:
    """Set every threshold, in place, to its channel's largest activation on a few training pictures.

    Channel-wise normalization (Kim et al., "Spiking-YOLO", AAAI 2020): weights scaled by the largest activations of the
    channels before and after them are, in activation units, thresholds at these activations. A channel that was silent
    on all pictures keeps its threshold.
    """
    model.eval()
    inputs = to_input([pictures.read_image(i) for i in range(len(pictures))], image_size)
    largest: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            most = output.abs().amax((0, 2, 3))
            largest[name] = torch.maximum(largest[name], most) if name in largest else most

        return hook

    hooks = [activation.register_forward_hook(watch(name)) for name, activation in activations(model)]
    for part in inputs.split(batch):
        model(part)
    for hook in hooks:
        hook.remove()
    for name, activation in list(activations(model)):
        activation.set_theta(torch.where(largest[name] > 0, largest[name], activation.theta))


def _collector(seen: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0].detach())

    return hook

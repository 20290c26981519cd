"""Stage I on the spiking network itself: its own firing rates in the forward pass, the QC activation's gradient.

Not in the paper. Before every forward pass the network is converted as it stands, simulated for T steps, and each
activation answers the firing rate of the layer it will become instead of g(x). A convolution is linear, so the means
that flow through the network are those of the spiking one (equation 6), up to the precision of the forward pass. BN
keeps its running statistics, which are what conversion folds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikedet.config import Neuron
from spikedet.conversion import to_spiking
from spikedet.models import ClipDetector, activations
from spikedet.quantization import QCActivation
from spikedet.snn import layer_rates


class SpikingForward:
    """A forward pre-hook that gives every QC activation its firing rate.

    Args:
        neuron: as in ``to_spiking``.
        delay: firing delay of every layer, in steps.
    """

    def __init__(self, neuron: Neuron = "if", delay: int = 0) -> None:
        self.neuron, self.delay = neuron, delay

    def attach(self, model: ClipDetector) -> None:
        """Let every forward pass of this network, and of copies of it, answer with firing rates."""
        model.register_forward_pre_hook(self)

    @torch.no_grad()
    def __call__(self, model: ClipDetector, arguments: tuple[Tensor, ...]) -> None:
        images = arguments[0]
        if not isinstance(images, Tensor):
            return  # a training batch: its images come through here next
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        named = [(name, a) for name, a in activations(model) if isinstance(a, QCActivation)]
        with torch.autocast(images.device.type, enabled=False):
            T = named[0][1].T
            network = to_spiking(model, T, neuron=self.neuron, delay=self.delay)
            rates = layer_rates(network, images.float(), T)
        for name, activation in named:
            activation.answer = rates[name.removesuffix(".act")]

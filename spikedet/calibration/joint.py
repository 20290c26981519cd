"""Joint calibration: all layers at once, on the spiking network's own rates, towards the outputs of its ANN.

Not in the paper. Stage II asks each layer to repeat the QC-ANN; what a layer cannot mend, those after it have to live
with. Here the loss is on the network's outputs. The network is simulated (or need not be, see snn/rates.py), and the
rate r that every layer has fired at takes the activation's place in a forward pass in means, which gives exactly the
network's outputs, because between layers everything is linear (equation 6). Gradients pass straight through, as in
equation 13 of Stage I:

    r ~ clip(z + (u[0] - theta / 2) / T, 0, theta),      z the mean input potential,

so dr/dz = 1 and dr/du[0] = 1 / T wherever the right side is not clipped. Trained are weights, biases and initial
potentials; theta stays. The target is the ANN's output at every cell (``distillation_loss``): labels are not needed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikedet.calibration.fine import parameter_groups
from spikedet.calibration.images import Recipes, TrainingImages, recipes
from spikedet.checkpoint.state import alike, finite, load_adam_
from spikedet.common.distributed import own, sum_, sum_gradients_
from spikedet.common.errors import TrainingError
from spikedet.common.precision import autocast, takes_bfloat16
from spikedet.common.progress import track
from spikedet.config import JointConfig, Mode, Precision
from spikedet.data import DetectionDataset
from spikedet.models import ClipDetector
from spikedet.quantization import leaky_clip
from spikedet.snn import Readout, SpikingConv, SpikingNetwork, layer_rates
from spikedet.snn.backends.dense import float32
from spikedet.snn.layers import broadcast
from spikedet.snn.network import Node, mean_forward
from spikedet.snn.operations import LinearConv
from spikedet.snn.rates import waiting_activation, waits
from spikedet.training.distillation import distillation_loss, teacher_outputs, teacher_weight
from spikedet.training.sparsity import firing_penalty, operation_shares

WARM_UP = 20
"""Steps of linear warm-up."""

LAST_RATE = 0.02
"""What the cosine leaves of the learning rate."""

BETAS = (0.9, 0.99)
"""Of Adam; the second is short because there are few steps."""

Maps = dict[str, Tensor]
"""A head's outputs: ``boxes`` ``[N, 4 R, A]`` and ``scores`` ``[N, classes, A]``, logits over all cells."""

Teacher = Callable[[Tensor], Maps]
"""Outputs of the ANN for images ``[N, 3, S, S]``."""


def outputs_with_rates(
    network: SpikingNetwork, images: Tensor, precision: Precision = "fp32", mode: Mode = "exact"
) -> tuple[Maps, dict[str, Tensor]]:
    """Simulate for T steps; gradients as the module says.

    Args:
        network: converted network.
        images: ``[N, 3, S, S]`` in [0, 1].
        precision: of the convolutions in the forward pass in means.
        mode: of the simulation.

    Returns:
        The head's outputs, and spikes per step of every spiking layer, ``[N, C, H, W]``, by name.
    """
    T, rates = network.T, {}
    in_passing = waits(network, T) and not takes_bfloat16(images.device, precision)  # exact means tell the rates
    sent = {} if in_passing else layer_rates(network, images, T, mode=mode)

    def activation(node: Node, value: Tensor) -> Tensor:
        layer, value = node.module, value.float()
        fired = waiting_activation(node, value, T) if in_passing else sent[node.name]
        if not isinstance(layer, SpikingConv):
            return value + (fired - value).detach()
        start = (layer.u0 - layer.per_place(layer.theta) / 2) / T
        soft = leaky_clip(value + broadcast(start), layer.theta, layer.slope)
        made = fired + soft - soft.detach()
        rates[node.name] = made / broadcast(layer.theta)
        return made

    with float32(), autocast(images.device, precision):
        outputs = mean_forward(network, images, activation).outputs
    boxes, scores = (
        torch.cat([outputs[name].float().flatten(2) for name in names], 2)
        for names in (network.box_readouts, network.class_readouts)
    )
    return {"boxes": boxes, "scores": scores}, rates


@dataclass
class Progress:
    """Where a joint calibration is.

    Attributes:
        epoch: epochs that are done.
        best: the network's tensors with the lowest held-out loss so far.
        losses: held-out loss before the first epoch and after each.
        optimizer: Adam's state dict.
    """

    epoch: int
    best: dict[str, Tensor]
    losses: list[float]
    optimizer: dict[str, Any]


class JointCalibration:
    """All layers of a network, trained in place, epoch by epoch.

    Args:
        network: converted network, calibrated or not.
        teacher: the ANN.
        images: to train on, on the network's device.
        held_out: images that choose the state; none keeps the last.
        config: see ``JointConfig``.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        teacher: Teacher,
        images: TrainingImages,
        held_out: TrainingImages,
        config: JointConfig,
    ) -> None:
        self.network, self.teacher, self.config = network, teacher, config
        self.images, self.held_out = images, held_out
        self.device = network.device
        groups = [
            group
            for node in network.nodes
            if isinstance(node.module, (SpikingConv, Readout, LinearConv))
            for group in parameter_groups(node.module, config.lr)
        ]
        self.rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.Adam(groups, betas=BETAS, fused=self.device.type == "cuda")
        self.parameters = [p for group in groups for p in group["params"]]
        self.shares = operation_shares(network, (images.image_size,) * 2) if config.sparsity else {}
        self.steps_per_epoch = math.ceil(len(images) / config.batch)
        self.progress = Progress(0, self._tensors(), [], {})

    def begin(self) -> None:
        """Evaluate the network as it is; the state before training competes too."""
        self.progress.losses = [self.held_out_loss()]

    def resume(self, network: dict[str, Tensor], progress: Progress) -> None:
        """Go on where another process stopped. Raises ValueError if that was another network or if it is damaged."""
        own = self._tensors()
        if not alike(network, own) or not alike(progress.best, own) or not finite(progress.best):
            raise ValueError("its network has other tensors, or some that are not finite")
        if not 1 <= progress.epoch + 1 == len(progress.losses) <= self.config.epochs + 1:
            raise ValueError("its epochs are not those of its losses")
        load_adam_(self.optimizer, progress.optimizer)
        self.network.load_state_dict(network)
        self.progress = progress

    def epoch(self) -> float:
        """Once over the images; returns the mean training loss.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        done, total = self.progress.epoch, 0.0
        draw = np.random.default_rng((self.config.seed, done))
        inputs, rows = recipes(len(self.images), self.config.mosaic, draw), range(len(self.images))
        for number in track(range(self.steps_per_epoch), f"epoch {done + 1}, batches"):
            step = done * self.steps_per_epoch + number
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * schedule(step, self.config.epochs * self.steps_per_epoch)
            total += self._step(inputs, rows[number * self.config.batch : (number + 1) * self.config.batch])
        self.progress.epoch = done + 1
        self.progress.optimizer = self.optimizer.state_dict()
        self.progress.losses.append(self.held_out_loss())
        if not len(self.held_out) or self.progress.losses[-1] <= min(self.progress.losses):
            self.progress.best = self._tensors()
        return total / self.steps_per_epoch

    def run(self, after_epoch: Callable[[float], None] = lambda loss: None) -> None:
        """Train every epoch that is left; ``after_epoch`` gets the loss of each. Raises TrainingError as ``epoch``."""
        while self.progress.epoch < self.config.epochs:
            after_epoch(self.epoch())

    def _step(self, inputs: Recipes, batch: Sequence[int]) -> float:
        """One step on some rows; every process adds the gradients of the inputs that it holds."""
        self.optimizer.zero_grad()
        loss, weight = torch.zeros(2, device=self.device)
        if mine := own(batch):
            images = self.images.cook(inputs, mine)
            maps = self.teacher(images)
            weight = teacher_weight(maps)
        weight = sum_(weight)
        if mine:
            loss = self._loss(images, maps, weight, len(mine) / len(batch))
            loss.backward()
        sum_gradients_(self.parameters)
        value = float(sum_(loss.detach().clone()))
        if not math.isfinite(value):
            raise TrainingError(f"epoch {self.progress.epoch + 1}: the loss is no longer finite; try a lower --lr")
        self.optimizer.step()
        return value

    def _loss(self, images: Tensor, maps: Maps, weight: Tensor, share: float, *, exact: bool = False) -> Tensor:
        """Divergence from the teacher, and the penalty on firing of this share of a batch."""
        precision: Precision = "fp32" if exact else self.config.precision
        mode: Mode = "exact" if exact else self.config.mode
        outputs, rates = outputs_with_rates(self.network, images, precision, mode)
        loss = distillation_loss(outputs, maps, weight)
        if self.config.sparsity:
            loss = loss + self.config.sparsity * share * firing_penalty(rates, self.shares)
        return loss

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """The loss on the held-out images, in fp32; 0 without any."""
        sums = torch.zeros(2, dtype=torch.float64)
        for start in range(0, len(self.held_out), self.config.batch):
            if mine := own(range(len(self.held_out))[start : start + self.config.batch]):
                images = self.held_out.plain(mine)
                maps = self.teacher(images)
                weight = teacher_weight(maps)
                loss = self._loss(images, maps, weight, 1.0, exact=True) * weight.clamp_min(1.0)
                sums += torch.tensor([float(loss), float(weight)], dtype=torch.float64)
        loss, weight = sum_(sums).tolist()
        return loss / max(weight, 1.0)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}


def calibrate_jointly(
    network: SpikingNetwork, ann: ClipDetector, images: DetectionDataset, image_size: int, config: JointConfig
) -> tuple[SpikingNetwork, list[float]]:
    """A jointly calibrated copy of ``network`` and its held-out losses, in memory.

    Args:
        network: converted network, calibrated or not; left as it is.
        ann: the target, in evaluation mode and on the network's device.
        images: to train on; ``config.held_out`` of them choose the best epoch. Labels are not used.
        image_size: side of the square input.
        config: see ``JointConfig``; paths in it are not looked at.

    Returns:
        The network of the best epoch, and the held-out loss before the first epoch and after each.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    made = copy.deepcopy(network)
    training, held_out = (
        TrainingImages(part, image_size, made.device) for part in images.hold_out(config.held_out, config.seed)
    )
    calibration = JointCalibration(made, partial(teacher_outputs, ann), training, held_out, config)
    calibration.begin()
    calibration.run()
    made.load_state_dict(calibration.progress.best)
    return made, calibration.progress.losses


def schedule(step: int, steps: int) -> float:
    """Part of the learning rate at a step: a linear warm-up, then a cosine down to ``LAST_RATE``."""
    cosine = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
    return min(1.0, (step + 1) / WARM_UP) * cosine

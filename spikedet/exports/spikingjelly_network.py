"""A spiking detector made of SpikingJelly's layers and neurons, as ``spikedet export --to spikingjelly`` writes it.

It needs torch, safetensors and spikingjelly 2; its tensors lie in the file ``WEIGHTS`` beside it.

    network = load()
    maps = network(images, steps=(4, 8))[8]  # images [N, 3, H, W] in [0, 1] -> logits by output layer
    predictions = decode(maps)               # [N, 4 + classes, A]: x, y, width, height in pixels, then scores

Every train of spikes is [T, N, C, H, W] and begins with the layer's own first step; a spike is worth its threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.nn import functional as F

# Values of this network alone; nothing of them is code.
WEIGHTS: str = ""
T: int = 1
STEPS: tuple[int, ...] = (T,)
IMAGE_SIZE: int = 0
CLASS_NAMES: tuple[str, ...] = ()
STRIDES: tuple[float, ...] = ()
BOXES: tuple[str, ...] = ()
CLASSES: tuple[str, ...] = ()
LAYERS: tuple[dict[str, Any], ...] = ()
# From here on every export is the same.


class IF(neuron.SimpleIFNode):
    """Integrate and fire with soft reset: u <- u + v[t]; s = 1 if u >= theta else 0; u <- u - theta s.

    Thresholds [C] and first potentials [C] or [C, H, W] are the layer's own; it charges ``delay`` steps before its
    window of T steps, in which it fires.
    """

    v: Any
    v_threshold: Any

    def __init__(self, theta: Tensor, u0: Tensor, delay: int = 0) -> None:
        super().__init__(v_reset=None, step_mode="m")
        del self.v_threshold
        self.register_buffer("v_threshold", theta.view(-1, 1, 1))
        self.register_buffer("u0", u0.view(-1, 1, 1) if u0.ndim == 1 else u0)
        self.delay = delay

    def supported_step_mode(self) -> tuple[str, ...]:
        return ("m",)

    def neuronal_charge(self, x: Tensor) -> None:
        if isinstance(self.v, float):  # the first step after a reset
            self.v = self.u0
        super().neuronal_charge(x)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        if self.delay:
            x_seq = torch.cat([x_seq, x_seq.new_zeros(self.delay, *x_seq.shape[1:])])
        for x in x_seq[: self.delay]:
            self.neuronal_charge(x)
        return super().multi_step_forward(x_seq[self.delay :])


class SignedIF(IF):
    """IF that takes spikes back: s = -1 if u < 0 and it has sent more spikes than it took back."""

    count: Any

    def __init__(self, theta: Tensor, u0: Tensor, delay: int = 0) -> None:
        super().__init__(theta, u0, delay)
        self.register_memory("count", 0.0)

    def neuronal_fire(self) -> Tensor:
        spikes: Tensor = super().neuronal_fire() - (1 - self.surrogate_function(self.v)) * (self.count > 0)
        self.count = self.count + spikes
        return spikes


class AsymmetricIF(IF):
    """IF for a LeakyReLU: s = -1 if u <= -theta / slope; then u <- u + theta / slope."""

    def __init__(self, theta: Tensor, u0: Tensor, delay: int, slope: float) -> None:
        super().__init__(theta, u0, delay)
        self.register_buffer("lower", -theta.view(-1, 1, 1) / slope)

    def neuronal_fire(self) -> Tensor:
        return super().neuronal_fire() - self.surrogate_function(self.lower - self.v)

    def neuronal_reset(self, spike: Tensor) -> None:
        self.v = self.v - self.v_threshold * spike.clamp_min(0) - self.lower * (-spike).clamp_min(0)


class CurrentLIF(IF):
    """C-LIF: c <- d_c c + v[t]; u <- d_v u + c; s as IF; then u <- 0, or with soft reset u <- u - theta s."""

    current: Any

    def __init__(self, theta: Tensor, u0: Tensor, decays: Sequence[float], reset: str) -> None:
        super().__init__(theta, u0)
        self.register_memory("current", 0.0)
        self.decays, self.hard = decays, reset == "hard"

    def neuronal_charge(self, x: Tensor) -> None:
        if isinstance(self.v, float):
            self.v = self.u0
        self.current = self.decays[0] * self.current + x
        self.v = self.decays[1] * self.v + self.current

    def neuronal_reset(self, spike: Tensor) -> None:
        self.v = self.v * (1 - spike) if self.hard else self.v - self.v_threshold * spike


class Spiking(nn.Module):
    """A convolution and its neurons; an input that does not change over time has one step and is convolved once."""

    def __init__(self, conv: nn.Module, neurons: IF) -> None:
        super().__init__()
        self.conv, self.neurons = conv, neurons

    def forward(self, x: Tensor) -> Tensor:
        return self.neurons(_steps(self.conv(x))) * self.neurons.v_threshold


class MaxPool(nn.Module):
    """Max-pooling of spike trains.

    ``count``: the growth of each window's largest spike count; ``or``: a spike wherever one is in the window. ``unit``
    [C] is what a spike is worth, where that is known.
    """

    unit: Tensor

    def __init__(self, rule: str, unit: Tensor | None, **settings: Any) -> None:
        super().__init__()
        self.rule, self.pool = rule, layer.MaxPool2d(**settings, step_mode="m")
        self.register_buffer("unit", torch.ones(1, 1, 1) if unit is None else unit.view(-1, 1, 1))
        self.rounded = unit is not None

    def forward(self, x: Tensor) -> Tensor:
        counts = (x / self.unit).round() if self.rounded else x
        pooled = self.pool(counts if self.rule == "or" else counts.cumsum(0))
        if self.rule == "count":
            pooled = pooled - torch.cat([torch.zeros_like(pooled[:1]), pooled[:-1]])
        return pooled * self.unit


class Join(nn.Module):
    """Sum of trains, or their channels one after the other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, *trains: Tensor) -> Tensor:
        if len({len(train) for train in trains}) > 1:
            trains = tuple(map(_steps, trains))
        return torch.cat(trains, 2) if self.kind == "Concat" else sum(trains[1:], start=trains[0])


class Part(nn.Module):
    """Channels ``start`` to ``stop``, or zeros around the map."""

    def __init__(self, start: int = 0, stop: int | None = None, padding: Sequence[int] = (0, 0, 0, 0)) -> None:
        super().__init__()
        self.start, self.stop, self.padding = start, stop, tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, self.start : self.stop], self.padding)


class Readout(nn.Module):
    """A last convolution, of the mean of its input over the first t steps."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, t: int) -> Tensor:
        return self.conv((_steps(x)[:t].sum(0) / t).unsqueeze(0))[0]


class Network(nn.Module):
    """The detector; every call begins at the first step.

    Args:
        tensors: of the file ``WEIGHTS``.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_made(dict(settings), tensors) for settings in LAYERS])

    def forward(self, images: Tensor, steps: Sequence[int] = STEPS) -> dict[int, dict[str, Tensor]]:
        """Logits ``[N, C, H, W]`` by name of the output layer, by time step (1 to T), of images ``[N, 3, H, W]``."""
        functional.reset_net(self)
        trains: dict[str, Tensor] = {"image": images.unsqueeze(0)}
        maps: dict[int, dict[str, Tensor]] = {t: {} for t in steps}
        for settings, module in zip(LAYERS, self.layers, strict=True):
            inputs = [trains[name] for name in settings["inputs"]]
            if isinstance(module, Readout):
                for t, found in maps.items():
                    found[settings["name"]] = module(inputs[0], t)
            else:
                trains[settings["name"]] = module(*inputs)
        return maps


def load(weights: str | Path | None = None) -> Network:
    """The network with its tensors, those beside this file unless another is named."""
    return Network(load_file(weights or Path(__file__).with_name(WEIGHTS))).eval()


def decode(maps: dict[str, Tensor]) -> Tensor:
    """Predictions ``[N, 4 + classes, A]`` of all cells: x, y, width, height in pixels of the input, then scores."""
    found = []
    for box, kind, stride in zip(BOXES, CLASSES, STRIDES, strict=True):
        n, channels, height, width = maps[box].shape
        bins = channels // 4
        weights = torch.arange(bins, dtype=maps[box].dtype, device=maps[box].device).view(1, 1, bins, 1)
        sides = (maps[box].view(n, 4, bins, -1).softmax(2) * weights).sum(2)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        center = torch.stack([x.flatten(), y.flatten()]).to(sides)
        first, last = center - sides[:, :2], center + sides[:, 2:]
        boxes = torch.cat([(first + last) / 2, last - first], 1) * stride
        found.append(torch.cat([boxes, maps[kind].flatten(2).sigmoid()], 1))
    return torch.cat(found, 2)


def _steps(train: Tensor) -> Tensor:
    """All T steps of a train that has one, because it does not change."""
    return train.expand(T, *train.shape[1:])


def _made(settings: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    kind, name, _ = (settings.pop(key) for key in ("kind", "name", "inputs"))
    if kind in ("Concat", "Add"):
        return Join(kind)
    if kind in ("Slice", "ZeroPad"):
        return Part(**settings)
    if kind == "Upsample":
        return layer.Upsample(scale_factor=settings["factor"], mode="nearest-exact", step_mode="m")
    if kind == "AvgPool":
        return layer.AvgPool2d(**settings, step_mode="m")
    if kind == "MaxPool":
        return MaxPool(settings.pop("rule"), tensors.get(f"{name}.unit"), **settings)
    neurons = {key: settings.pop(key) for key in ("neuron", "slope", "delay", "decays", "reset") if key in settings}
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    channels = weight.shape[1] * settings.get("groups", 1)
    conv = layer.Conv2d(channels, len(weight), tuple(weight.shape[2:]), **settings, step_mode="m")
    conv.load_state_dict({"weight": weight, "bias": bias})
    if kind == "LinearConv":
        return conv
    if kind == "Readout":
        return Readout(conv)
    theta, u0, delay = tensors[f"{name}.theta"], tensors[f"{name}.u0"], neurons["delay"]
    if neurons["neuron"] == "asymmetric":
        return Spiking(conv, AsymmetricIF(theta, u0, delay, neurons["slope"]))
    if neurons["neuron"] == "clif":
        return Spiking(conv, CurrentLIF(theta, u0, neurons.get("decays", (0.5, 0.75)), neurons.get("reset", "hard")))
    return Spiking(conv, (SignedIF if neurons["neuron"] == "signed" else IF)(theta, u0, delay))

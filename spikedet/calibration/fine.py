"""Fine calibration: one layer's weights, bias and u[0] by BPTT through that layer alone (equations 17, 20 and 21).

The loss is the mean squared difference between the rate r = (sum of spikes) theta / T and the QC-ANN's activation,
which keeps the numerical precision that box regression needs (section V-B). ``early`` adds the same difference after
half of the window (see coarse.py), ``sparsity`` a penalty on firing; both then also count in the choice of the best
state. A training step sees a random crop of the output map, cut together with its receptive field, so that the crop's
gradient is exact and early layers cost no more than deep ones. The state with the lowest error on held-out calibration
images is kept; the one before training competes too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.calibration.observer import Observer, Region, layer_of, windows
from spikedet.common.distributed import held_here, sum_, sum_gradients_
from spikedet.common.precision import autocast
from spikedet.config import CalibrateConfig, Precision
from spikedet.snn import Node, SpikingConv
from spikedet.snn.backends.native.layers import PackedConv
from spikedet.snn.layers import Readout, broadcast
from spikedet.snn.operations import LinearConv
from spikedet.snn.surrogate import rate

HELD_OUT_CROP = 2
"""Side of the held-out crops, in units of the training crop."""


def random_crop(map_hw: tuple[int, int], side: int, generator: torch.Generator) -> Region:
    """Rows and columns of a window of at most ``side`` x ``side`` anywhere on the map."""
    spans = []
    for length in map_hw:
        count = min(side, length)
        first = int(torch.randint(length - count + 1, (), generator=generator))
        spans.append(slice(first, first + count))
    return spans[0], spans[1]


def receptive_field(
    crop: Region, module: SpikingConv | Readout, map_hw: tuple[int, int]
) -> tuple[Region, tuple[int, int, int, int]]:
    """The part of the input map that a window of the output sees, and the zero padding it still needs.

    Args:
        crop: rows and columns of the convolution's output.
        module: the convolution.
        map_hw: height and width of its input map.

    Returns:
        Row and column slices of the input map, and (left, right, top, bottom) padding, as ``F.pad`` takes it.
    """
    spans, pads = [], []
    for axis, span in enumerate(crop):
        begin, last = (place * module.stride[axis] - module.padding[axis] for place in (span.start, span.stop - 1))
        reach = last - begin + module.dilation[axis] * (module.weight.shape[2 + axis] - 1) + 1
        spans.append(slice(max(begin, 0), min(begin + reach, map_hw[axis])))
        pads.append((max(-begin, 0), max(begin + reach - map_hw[axis], 0)))
    return (spans[0], spans[1]), (*pads[1], *pads[0])


def trained_rates(
    module: SpikingConv | Readout,
    x: Tensor,
    T: int,
    config: CalibrateConfig,
    precision: Precision,
) -> list[Tensor]:
    """Rate (or logits) of a cropped input, differentiable in the layer's weight, bias and u[0].

    With ``config.early``, the rate in the first half of the window too, see ``windows``.

    Args:
        module: the layer being trained.
        x: ``[K, b, C_in, h, w]``, a padded receptive field; K = 1 if constant over time.
        T: window length.
        config: its ``early`` is read.
        precision: of the convolution; bf16 also rounds its output, which moves spikes, so errors are evaluated in fp32.
    """
    with autocast(x.device, precision):
        if isinstance(module, Readout):
            return [F.conv2d(x.mean(0), module.weight, module.bias, module.stride).float()]
        flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        v = F.conv2d(flat, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)
    v = v.float().unflatten(0, x.shape[:2])
    means = [
        rate(
            v if len(v) == 1 else v[:steps],
            broadcast(module.u0),
            module.theta,
            steps,
            signed=module.neuron == "signed",
            lower=module.lower,
            delay=module.delay,
        )
        for steps in windows(module, T, config.early)
    ]
    return [mean * broadcast(module.theta) for mean in means]


def squared_error(rates: list[Tensor], targets: Tensor, config: CalibrateConfig) -> Tensor:
    """Squared differences, elementwise: after the window, and weighted after half of it."""
    first, *half = ((found - targets).square() for found in rates)
    return first + config.early * half[0] if half else first


def firing(module: SpikingConv | Readout, rates: Tensor) -> Tensor:
    """Spikes per step of rates in activation units, times the layer's mean square theta, to be added to squared errors.

    A read-out does not fire: zeros.
    """
    if isinstance(module, Readout):
        return torch.zeros_like(rates)
    return rates.abs() / broadcast(module.theta) * module.theta.square().mean()


def fine_calibrate_(
    observer: Observer, node: Node, training: list[int], held_out: list[int], config: CalibrateConfig
) -> tuple[float, float, int]:
    """Train one layer in place.

    Every process sees the batches and windows that one process would see, and sums the loss over the images it holds.

    Args:
        observer: of the images that this process holds.
        node: the layer.
        training: numbers of the images to train on.
        held_out: images that choose the state.
        config: see ``CalibrateConfig``.

    Returns:
        Held-out cost before and after (mean squared error, and what ``early`` and ``sparsity`` add), and the number of
        epochs run.
    """
    module, (source,) = layer_of(node), node.inputs
    groups = parameter_groups(module, config.lr, weights=config.train_weights, potential=config.train_potential)
    before = best_error = _held_out_error(observer, node, held_out, config)
    if not groups:
        return before, before, 0
    best = {name: value.clone() for name, value in module.state_dict().items()}
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _cosine(done / config.epochs))
    generator = torch.Generator().manual_seed(config.seed)
    since_best = done = 0
    while done < config.epochs:
        done += 1
        for indices in _batches(training, config.batch, generator):
            crop, inputs, padding = _window(observer, node, config.crop, generator)
            optimizer.zero_grad()
            if mine := held_here(indices):
                targets = observer.target(node, mine)[..., *crop]
                x = F.pad(observer.train(source, mine, inputs), padding)
                rates = trained_rates(module, x, observer.T, config, config.precision)
                loss = squared_error(rates, targets, config).mean()
                if config.sparsity:
                    loss = loss + config.sparsity * firing(module, rates[0]).mean()
                loss = loss * (len(mine) / len(indices))
                loss.backward()
            sum_gradients_(p for group in groups for p in group["params"])
            optimizer.step()
        schedule.step()
        error = _held_out_error(observer, node, held_out, config)
        if math.isfinite(error) and error < best_error:
            best_error, since_best = error, 0
            best = {name: value.clone() for name, value in module.state_dict().items()}
        else:
            since_best += 1
        if config.patience and since_best >= config.patience:
            break
    module.load_state_dict(best)
    return before, best_error, done


def parameter_groups(
    module: SpikingConv | Readout | LinearConv, lr: float, *, weights: bool = True, potential: bool = True
) -> list[dict[str, Any]]:
    """What is trained, each at a rate in its own units, so that one setting serves wide and narrow layers.

    Adam moves every element by about its rate per step. ``lr`` is that step relative to the root mean square of the
    weights; for bias and u[0] relative to theta (the bias of a layer without neurons: to its own root mean square).
    """
    size = _rms(module.weight)
    theta = float(module.theta.mean()) if isinstance(module, SpikingConv) else _rms(module.bias) or size
    groups = []
    if weights:
        groups += [{"params": [module.weight], "lr": lr * size}, {"params": [module.bias], "lr": lr * theta}]
    if potential and isinstance(module, SpikingConv):
        groups += [{"params": [module.u0], "lr": lr * theta}]
    return groups


def _rms(values: Tensor) -> float:
    return float(values.detach().square().mean().sqrt())


def _cosine(progress: float) -> float:
    """From 1 down to a twentieth."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2


def _batches(indices: list[int], batch: int, generator: torch.Generator) -> Iterator[list[int]]:
    order = torch.randperm(len(indices), generator=generator).tolist()
    for start in range(0, len(order), batch):
        yield [indices[i] for i in order[start : start + batch]]


def _window(
    observer: Observer, node: Node, side: int, generator: torch.Generator
) -> tuple[Region, Region, tuple[int, int, int, int]]:
    """A random window of at most ``side`` places a side, what it sees of its input, and the padding that needs."""
    crop = random_crop(observer.map_hw[node.name], side, generator)
    return crop, *receptive_field(crop, layer_of(node), observer.map_hw[node.inputs[0]])


@torch.no_grad()
def _held_out_error(observer: Observer, node: Node, held_out: list[int], config: CalibrateConfig) -> float:
    """Mean cost on the held-out images, the same windows at every call."""
    generator = torch.Generator().manual_seed(config.seed + 1)
    module, (source,) = layer_of(node), node.inputs
    channels = observer.channels.get(source) if observer.channels and isinstance(module, SpikingConv) else None
    sums = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(held_out), config.batch):
        crop, inputs, padding = _window(observer, node, HELD_OUT_CROP * config.crop, generator)
        held = held_here(held_out[start : start + config.batch])
        if not held:
            continue
        targets = observer.target(node, held)[..., *crop]
        if channels is not None and isinstance(module, SpikingConv):
            bits = F.pad(observer.bits(source, held, inputs), (0, 0, *padding))
            packed = PackedConv(module, channels, "exact", padding=(0, 0))
            spikes = packed.window(packed.state(bits.shape[1], (bits.shape[2], bits.shape[3])), bits, observer.T)
            rates = observer.rates(module, spikes, config.early)
        else:
            x = F.pad(observer.train(source, held, inputs), padding)
            rates = trained_rates(module, x, observer.T, config, "fp32")
        cost = squared_error(rates, targets, config).sum(dtype=torch.float64)
        if config.sparsity:
            cost += config.sparsity * firing(module, rates[0]).sum(dtype=torch.float64)
        sums += torch.stack([cost, sums.new_tensor(targets.numel())])
    squares, count = sum_(sums).tolist()
    return float(squares / max(count, 1))

"""Stage II: layer by layer in execution order, inputs from the layers already calibrated, targets from the QC-ANN."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from spikedet.calibration.coarse import coarse_calibrate_
from spikedet.calibration.estimate import estimate, probe_batch
from spikedet.calibration.fine import fine_calibrate_
from spikedet.calibration.observer import Indices, Observer
from spikedet.calibration.store import ByteStore
from spikedet.checkpoint import CheckpointMeta
from spikedet.config import CalibrateConfig
from spikedet.conversion import load_spiking, save_spiking
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.environment import seed_everything
from spikedet.errors import CheckpointError, ConfigError
from spikedet.snn import SpikingConv, SpikingNetwork
from spikedet.snn.operations import SpikeOp

MAX_LEVELS = 255
"""Levels of a QC activation are cached in one byte."""


@dataclasses.dataclass(frozen=True)
class LayerReport:
    """What calibration did to one layer: mean squared errors in squared activation units (read-outs: logits)."""

    layer: str
    coarse_before: float
    fine_before: float | None
    fine_after: float | None
    epochs: int
    seconds: float

    def __str__(self) -> str:
        text = f"{self.layer:<18} MSE {self.coarse_before:.3e} as copied"
        if self.fine_before is not None:
            text += f"; held out {self.fine_before:.3e} after coarse -> {self.fine_after:.3e} after fine"
        return f"{text}  ({self.epochs} epochs, {self.seconds:.1f} s)"


def calibrate(config: CalibrateConfig) -> list[Path]:
    """Calibrate a converted network; returns ``OUT/coarse.safetensors`` and, if asked for, ``OUT/fine.safetensors``."""
    source = Path(config.checkpoint)
    network, meta = load_spiking(source)
    if meta.stage != "copied":
        raise CheckpointError(f"{source}: already calibrated ({meta.stage}); calibrate the copied network it came from")
    largest = MAX_LEVELS // 2 if network.neuron == "asymmetric" else MAX_LEVELS  # of either sign
    if largest < network.T:
        raise ConfigError(f"calibration works for T up to {largest}, this network has T = {network.T}")
    seed_everything(config.seed)
    data, split = meta.training_data(config.data, config.split)
    dataset = load_dataset(data, split, class_names=meta.class_names, skip_bad=config.skip_bad)
    drawn = dataset.draw(config.images, config.seed)
    images = to_input([drawn.read_image(i) for i in range(len(drawn))], meta.image_size)
    print(f"Stage II on {len(drawn)} pictures of {drawn.split}: {estimate(network, images, config)}", flush=True)
    out = Path(config.out) if config.out else source.parent
    written = []
    for fine in (False, True) if config.fine else (False,):
        made, reports = calibrate_network(network, images, config, fine=fine)
        stage = "fine" if fine else "coarse"
        written.append(save_spiking(out / f"{stage}.safetensors", made, _child(meta, source, stage, config, reports)))
    return written


def calibrate_network(
    network: SpikingNetwork, images: Tensor, config: CalibrateConfig, *, fine: bool
) -> tuple[SpikingNetwork, list[LayerReport]]:
    """A calibrated copy of ``network`` and what was done to each layer.

    Args:
        network: with copied weights; left as it is.
        images: ``[n, 3, H, W]`` calibration pictures; the last fifth is held out for early stopping.
        config: see ``CalibrateConfig``.
        fine: also the fine calibration of every layer, after its coarse one.
    """
    made = copy.deepcopy(network)
    reports: list[LayerReport] = []
    if config.potential_per == "neuron":
        _expand_potentials_(made, (images.shape[-2], images.shape[-1]))
    for _ in range(config.passes):
        made, reports = _one_pass(network, made, images, config, fine)
    return made, reports


def _one_pass(
    reference: SpikingNetwork, start: SpikingNetwork, images: Tensor, config: CalibrateConfig, fine: bool
) -> tuple[SpikingNetwork, list[LayerReport]]:
    """Every layer once, from ``start``; the targets are those of ``reference``, with its copied weights."""
    made = copy.deepcopy(start)
    everything = list(range(len(images)))
    held = len(everything) // 5
    training, held_out = everything[: len(everything) - held], everything[len(everything) - held :] or everything
    size = probe_batch(reference, images)
    store = ByteStore(config.memory_budget_gb * 2**30)
    reports = []
    try:
        observer = Observer(reference, made, images, store)
        for node in made.nodes:
            if isinstance(node.module, SpikeOp):
                continue
            started = time.perf_counter()
            spiking = isinstance(node.module, SpikingConv)
            if spiking:
                observer.observe(node, _slices(everything, size))
            before = coarse_calibrate_(observer, node, _slices(everything, size))
            fine_before, fine_after, epochs = None, None, 0
            if fine:
                fine_before, fine_after, epochs = fine_calibrate_(observer, node, training, held_out, config)
            if spiking:
                observer.record(node, _slices(everything, size))
            else:
                observer.release(node)
            seconds = time.perf_counter() - started
            reports.append(LayerReport(node.name, before, fine_before, fine_after, epochs, seconds))
            if fine:
                print(reports[-1], flush=True)
    finally:
        store.close()
    return made, reports


def _expand_potentials_(network: SpikingNetwork, image_hw: tuple[int, int]) -> None:
    """One u[0] per neuron instead of one per channel, all of a channel alike."""
    shapes = network.shapes(image_hw)
    for node, layer in network.spiking():
        u0 = layer.u0.detach().view(-1, 1, 1) if layer.u0.ndim == 1 else layer.u0.detach()
        layer.u0 = nn.Parameter(u0.expand(shapes[node.name]).clone())


def _slices(indices: list[int], size: int) -> Iterator[Indices]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _child(
    meta: CheckpointMeta, source: Path, stage: str, config: CalibrateConfig, reports: list[LayerReport]
) -> CheckpointMeta:
    return meta.child(
        source,
        stage=stage,
        config={**meta.config, "calibrate": dataclasses.asdict(config)},
        notes={"layers": [dataclasses.asdict(r) for r in reports]},
        seed=config.seed,
    )

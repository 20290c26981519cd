"""Stage II: layer by layer in execution order, inputs from the layers already calibrated, targets from the QC-ANN."""

from __future__ import annotations

import copy
import logging
import time

import torch
from torch import Tensor

from spikedet.calibration.coarse import TRADED_ON, coarse_calibrate_
from spikedet.calibration.estimate import probe_batch
from spikedet.calibration.fine import fine_calibrate_
from spikedet.calibration.finished import FinishedLayers
from spikedet.calibration.observer import Indices, Observer
from spikedet.calibration.report import LayerReport
from spikedet.calibration.store import ByteStore
from spikedet.common.distributed import copy_from_first_, first_says, held_here, sum_
from spikedet.config import CalibrateConfig
from spikedet.snn import SpikingConv, SpikingNetwork
from spikedet.snn.operations import SpikeOp

logger = logging.getLogger("spikedet")

MAX_LEVELS = 255
"""Levels of a QC activation are cached in one byte."""


def calibrate_network(
    network: SpikingNetwork,
    images: Tensor,
    config: CalibrateConfig,
    *,
    fine: bool,
    finished: FinishedLayers | None = None,
) -> tuple[SpikingNetwork, list[LayerReport]]:
    """A calibrated copy of ``network`` and what was done to each layer.

    Args:
        network: with copied weights; left as it is.
        images: ``[n, 3, H, W]``, the calibration images that this process holds (all of them without torchrun). The
            last fifth of all is held out for early stopping.
        config: see ``CalibrateConfig``.
        fine: also the fine calibration of every layer, after its coarse one.
        finished: layers that are done already, and where those to come are kept.
    """
    finished = FinishedLayers() if finished is None else finished
    made = copy.deepcopy(network)
    everything = list(range(int(sum_(torch.tensor(len(images))))))
    held = len(everything) // 5
    training, held_out = everything[: len(everything) - held], everything[len(everything) - held :] or everything
    here = list(range(len(images)))
    batch = probe_batch(network, images)
    reports: list[LayerReport] = []
    observer = Observer(network, made, images, ByteStore(config.memory_budget_gb * 2**30))
    for node in made.nodes:
        if isinstance(node.module, SpikeOp):
            continue
        started = time.perf_counter()
        spiking = isinstance(node.module, SpikingConv)
        if spiking:
            observer.observe(node, _slices(here, batch))
        report = finished.take(node.module, node.name)
        if not first_says(report is not None):
            seen = held_here(everything[:TRADED_ON]) if spiking and config.early else here
            before = coarse_calibrate_(observer, node, _slices(seen, batch), config.early)
            fine_before, fine_after, epochs = None, None, 0
            if fine:
                fine_before, fine_after, epochs = fine_calibrate_(observer, node, training, held_out, config)
            report = LayerReport(node.name, before, fine_before, fine_after, epochs)
            finished.add(node.module, node.name, report)
            if fine:
                logger.info(f"{report}  {time.perf_counter() - started:.1f} s")
        copy_from_first_(node.module.state_dict().values())
        if spiking:
            observer.record(node, _slices(here, batch))
        else:
            observer.release(node)
        reports += [report] if report else []
    return made, reports


def _slices(indices: list[int], size: int) -> list[Indices]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]

"""What the spikes of a network do for an image: mean and standard deviation over the images of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikedet.common.distributed import gather_arrays, interleave

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """Counts of one layer with weights.

    Attributes:
        sops, sops_std: in each time step, of the spikes that reach the layer, and their deviation over images.
        spikes, spikes_std: that its neurons send in each time step.
        total_sops_std: deviation of the SOPs of all time steps together.
    """

    sops: tuple[float, ...]
    sops_std: tuple[float, ...]
    spikes: tuple[float, ...]
    spikes_std: tuple[float, ...]
    total_sops_std: float


@dataclass(frozen=True, kw_only=True)
class OperationCounts:
    """Counts of one network in t time steps, all layers together; deviations are of the sample.

    Attributes:
        sops, sops_std: synaptic operations.
        spikes, spikes_std: spikes of either sign.
        covariance: of the two, over images.
        layers: layer by layer in execution order, at the last of the time steps that are read out; empty at others.
    """

    sops: float
    sops_std: float
    spikes: float
    spikes_std: float
    covariance: float
    layers: tuple[LayerCounts, ...] = ()


def operation_counts(batches: Sequence[Tensor], steps: Sequence[int]) -> dict[int, OperationCounts]:
    """Counts by time step of the images of all processes.

    Args:
        batches: float64 ``[2, layers, T, N]``, SOPs and spikes of each batch (``OperationCounter.until``).
        steps: time steps that are read out, T the last of them.
    """
    here = torch.cat(list(batches), -1).numpy() if batches else np.zeros((0, 0, 0, 0))
    parts = gather_arrays({"counts": here, "images": np.array([batch.shape[-1] for batch in batches], np.int64)})
    # In the order of the images, so that every number of processes gives the same bits.
    shares = [np.split(part["counts"], np.cumsum(part["images"]), -1)[: len(part["images"])] for part in parts]
    counted = np.concatenate(interleave(shares), -1)
    return {t: _at(counted[:, :, :t], layers=t == max(steps)) for t in steps}


def _at(counted: Counts, *, layers: bool) -> OperationCounts:
    totals = counted.sum((1, 2))  # [2, N]
    sops, spikes = totals.mean(1).tolist()
    covariances = np.cov(totals, ddof=_freedom(counted))
    return OperationCounts(
        sops=sops,
        sops_std=math.sqrt(covariances[0, 0]),
        spikes=spikes,
        spikes_std=math.sqrt(covariances[1, 1]),
        covariance=float(covariances[0, 1]),
        layers=_by_layer(counted) if layers else (),
    )


def _by_layer(counted: Counts) -> tuple[LayerCounts, ...]:
    freedom = _freedom(counted)
    means, deviations = counted.mean(-1), counted.std(-1, ddof=freedom)
    totals = counted[0].sum(1).std(-1, ddof=freedom)
    columns = (means[0], deviations[0], means[1], deviations[1], totals)
    return tuple(
        LayerCounts(
            sops=tuple(sops), sops_std=tuple(sops_std), spikes=tuple(spikes), spikes_std=tuple(spikes_std),
            total_sops_std=total,
        )
        for sops, sops_std, spikes, spikes_std, total in zip(*(column.tolist() for column in columns), strict=True)
    )  # fmt: skip


def _freedom(counted: Counts) -> int:
    """1, for the deviation of a sample; 0 for one image, whose deviation is zero."""
    return min(counted.shape[-1] - 1, 1)

"""The conversion error of a layer, split into what causes it (section IV), signed, neuron by neuron.

With x the source ANN's pre-activation, x_qc the QC-ANN's, x_cal that of a QC-ANN with the SNN's weights, x_snn the
SNN's mean input potential, r = theta n / T the rate of n spikes, sigma the (leaky) ReLU, clip its clipped form and g
the QC activation with T levels (equation 12):

    CE = clip(x) - sigma(x)                 QE = g(x) - clip(x)
    propagated = g(x_snn) - g(x)            RPE = r - g(x_snn)
    CE + QE + propagated + RPE = r - sigma(x)

``propagated`` falls into what the QC-ANN has too, g(x_qc) - g(x) (errors of earlier layers without time, and Stage I's
weights); ``calibration``, g(x_cal) - g(x_qc), what Stage II has changed in the weights; and the residual errors of
earlier layers, g(x_snn) - g(x_cal). RPE falls into under-firing (r < g, the estimate overvalues the rate) and
over-firing (r > g, it undervalues it).

Read out at t, all of it holds with t in place of T. Levels are whole numbers, so that an error that is not there is 0.
Source: Wang et al., "Towards High-accuracy and Low-latency Spiking Neural Networks with Two-Stage Optimization",
section IV, equations 6 to 12, examples 1 to 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from spikedet.quantization import leaky_clip, qc_quantize
from spikedet.quantization.activation import per_channel

TERMS = ("clipping", "quantization", "propagated_qc", "calibration", "propagated_rpe", "under_firing", "over_firing")
"""The terms of the sum, in the order of the first axis of every split."""


def levels(x: Tensor, theta: Tensor, T: int, slope: float = 0.0) -> Tensor:
    """The spikes that the QC activation represents, whole numbers: g(x) T / theta.

    Args:
        x: ``[N, C, ...]`` pre-activations.
        theta: ``[C]`` or ``[1]``.
        T: number of levels above zero.
        slope: of the LeakyReLU; 0 is ReLU.
    """
    return torch.round(qc_quantize(x, theta, T, slope=slope) * per_channel(T / theta, x.ndim))


def spike_counts(rate: Tensor, theta: Tensor, T: int) -> Tensor:
    """Positive minus negative spikes of a mean over T steps ``[N, C, ...]`` in activation units, whole numbers."""
    return torch.round(rate * per_channel(T / theta, rate.ndim))


def split_error(
    x: Tensor, x_qc: Tensor, x_cal: Tensor, x_snn: Tensor, spikes: Tensor, theta: Tensor, T: int, slope: float = 0.0
) -> Tensor:
    """The terms of the error of a spiking layer, which add up to r - sigma(x).

    Args:
        x, x_qc, x_cal, x_snn: ``[N, C, ...]``, see above.
        spikes: ``[N, C, ...]``, positive minus negative ones in T steps.
        theta: ``[C]`` or ``[1]``, the SNN's.
        T: steps (t for a read-out at t).
        slope: of the LeakyReLU; 0 is ReLU.

    Returns:
        ``[7, N, C, ...]``, activation units, as ``TERMS``.
    """
    unit = per_channel(theta / T, x.ndim)
    clipped = leaky_clip(x, theta, slope)
    source, qc, calibrated, snn = (levels(value, theta, T, slope) for value in (x, x_qc, x_cal, x_snn))
    residual = spikes - snn
    return torch.stack(
        [
            clipped - F.leaky_relu(x, slope),
            source * unit - clipped,
            (qc - source) * unit,
            (calibrated - qc) * unit,
            (snn - calibrated) * unit,
            residual.clamp_max(0) * unit,
            residual.clamp_min(0) * unit,
        ]
    )


def split_logits(x: Tensor, x_qc: Tensor, x_cal: Tensor, x_snn: Tensor) -> Tensor:
    """The same for a read-out, which adds no error of its own: ``[7, N, C, ...]``, adding up to x_snn - x."""
    none = torch.zeros_like(x)
    return torch.stack([none, none, x_qc - x, x_cal - x_qc, x_snn - x_cal, none, none])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity of every image's maps ``[N, ...]`` -> ``[N]`` (section IV, perspective II).

    Two silent maps are alike (1); a silent and another one are not (0).
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    norms = a.norm(dim=1) * b.norm(dim=1)
    both_silent = ~(a.any(1) | b.any(1))
    return torch.where(norms > 0, (a * b).sum(1) / norms.clamp_min(1e-300), both_silent.double()).clamp(-1, 1)

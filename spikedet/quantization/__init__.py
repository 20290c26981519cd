"""Clip and quantization-clip (QC) activations and the choice of their thresholds."""

from spikedet.quantization.activation import ClippedReLU, QCActivation, Unclipped, leaky_clip, qc_quantize
from spikedet.quantization.integer import IntegerActivation
from spikedet.quantization.threshold import mean_square_best_theta

__all__ = [
    "ClippedReLU",
    "IntegerActivation",
    "QCActivation",
    "Unclipped",
    "leaky_clip",
    "mean_square_best_theta",
    "qc_quantize",
]

"""Detectors: built from YAML through ultralytics, thresholds set from images, outputs decoded to boxes."""

from spikedet.models.architecture import average_pools, has_leaky_activations, has_max_pools, load_model_yaml
from spikedet.models.builder import ClipDetector, activations, as_qc, build_detector, over_time
from spikedet.models.copies import with_copies
from spikedet.models.start import read_start, start_from_
from spikedet.models.storage import import_ultralytics, load_ann
from spikedet.models.thresholds import fitted_levels, set_largest_thetas_, set_mean_square_best_thetas_

__all__ = [
    "ClipDetector",
    "activations",
    "as_qc",
    "average_pools",
    "build_detector",
    "fitted_levels",
    "has_leaky_activations",
    "has_max_pools",
    "import_ultralytics",
    "load_ann",
    "load_model_yaml",
    "over_time",
    "read_start",
    "set_largest_thetas_",
    "set_mean_square_best_thetas_",
    "start_from_",
    "with_copies",
]

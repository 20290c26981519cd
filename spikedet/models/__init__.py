"""Detectors: built from YAML through ultralytics, thresholds set from images, outputs decoded to boxes."""

from spikedet.models.architecture import (
    average_pools,
    check_architecture,
    check_form,
    has_leaky_activations,
    has_max_pools,
    layer_problem,
    load_model_yaml,
    read_model_yaml,
)
from spikedet.models.builder import ClipDetector, ExtraLoss, activations, as_clip, as_qc, build_detector, over_time
from spikedet.models.leaky_start import fit_leaky_
from spikedet.models.methods import with_method
from spikedet.models.start import (
    fit_,
    load_teacher,
    normalize_,
    normalized,
    read_start,
    start_from_,
    starting_weights,
)
from spikedet.models.storage import import_ultralytics, load_ann
from spikedet.models.thresholds import set_largest_thetas_, set_mean_square_best_thetas_

__all__ = [
    "ClipDetector",
    "ExtraLoss",
    "activations",
    "as_clip",
    "as_qc",
    "average_pools",
    "build_detector",
    "check_architecture",
    "check_form",
    "fit_",
    "fit_leaky_",
    "has_leaky_activations",
    "has_max_pools",
    "import_ultralytics",
    "layer_problem",
    "load_ann",
    "load_model_yaml",
    "load_teacher",
    "normalize_",
    "normalized",
    "over_time",
    "read_model_yaml",
    "read_start",
    "set_largest_thetas_",
    "set_mean_square_best_thetas_",
    "start_from_",
    "starting_weights",
    "with_method",
]

"""Detectors: built from YAML through ultralytics, thresholds set from pictures, outputs decoded to boxes."""

from spikedet.models.builder import (
    ClipDetector,
    activations,
    as_clip,
    as_qc,
    build_detector,
    check_architecture,
    load_model_yaml,
)

__all__ = [
    "ClipDetector",
    "activations",
    "as_clip",
    "as_qc",
    "build_detector",
    "check_architecture",
    "load_model_yaml",
]

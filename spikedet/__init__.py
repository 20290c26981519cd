"""spikedet: Tiny-YOLO detectors as spiking networks that keep their accuracy at few time steps."""

from typing import TYPE_CHECKING, Any

from spikedet.common.offline import quiet_ultralytics

quiet_ultralytics()

if TYPE_CHECKING:
    from spikedet.detections import Detections
    from spikedet.inference.detector import SpikingDetector

__all__ = ["Detections", "SpikingDetector"]

_HOMES = {"Detections": "spikedet.detections", "SpikingDetector": "spikedet.inference.detector"}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for, so that ``import spikedet`` stays quick."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'spikedet' has no attribute {name!r}")

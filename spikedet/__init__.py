"""spikedet: Tiny-YOLO detectors as spiking networks that keep their accuracy at few time steps."""

from typing import TYPE_CHECKING, Any

from spikedet.common.offline import quiet_ultralytics

quiet_ultralytics()

if TYPE_CHECKING:
    from spikedet.calibration import calibrate_jointly, calibrate_network
    from spikedet.commands.calibrate import calibrate
    from spikedet.commands.convert import convert
    from spikedet.commands.detect import detect
    from spikedet.commands.energy import energy
    from spikedet.commands.evaluate import evaluate
    from spikedet.commands.explain import explain
    from spikedet.commands.export import export
    from spikedet.commands.finetune import finetune
    from spikedet.commands.joint import joint
    from spikedet.commands.train import train
    from spikedet.config import (
        CalibrateConfig,
        ConvertConfig,
        DetectConfig,
        EnergyConfig,
        EvaluateConfig,
        ExplainConfig,
        ExportConfig,
        FinetuneConfig,
        JointConfig,
        SimulationConfig,
        TrainConfig,
    )
    from spikedet.detections import Detections
    from spikedet.inference.detector import SpikingDetector

_COMMANDS = ("train", "finetune", "convert", "calibrate", "joint", "evaluate", "energy", "explain", "export", "detect")

__all__ = [
    "CalibrateConfig",
    "ConvertConfig",
    "DetectConfig",
    "Detections",
    "EnergyConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "ExportConfig",
    "FinetuneConfig",
    "JointConfig",
    "SimulationConfig",
    "SpikingDetector",
    "TrainConfig",
    "calibrate",
    "calibrate_jointly",
    "calibrate_network",
    "convert",
    "detect",
    "energy",
    "evaluate",
    "explain",
    "export",
    "finetune",
    "joint",
    "train",
]

_HOMES = {
    "Detections": "spikedet.detections",
    "SpikingDetector": "spikedet.inference.detector",
    "calibrate_jointly": "spikedet.calibration",
    "calibrate_network": "spikedet.calibration",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for, so that ``import spikedet`` stays quick."""
    if name in _COMMANDS:
        from spikedet.commands import python_function

        return python_function(name)
    if name in __all__:
        import importlib

        return getattr(importlib.import_module(_HOMES.get(name, "spikedet.config")), name)
    raise AttributeError(f"module 'spikedet' has no attribute {name!r}")

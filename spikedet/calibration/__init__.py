"""Stage II: layer-wise calibration of initial potential and weights against the QC-ANN."""

from spikedet.calibration.report import LayerReport
from spikedet.calibration.stage2 import calibrate, calibrate_network

__all__ = ["LayerReport", "calibrate", "calibrate_network"]

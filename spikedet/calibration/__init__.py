"""Stage II: layer-wise calibration of initial potential and weights against the QC-ANN."""

from spikedet.calibration.layerwise import calibrate, calibrate_network
from spikedet.calibration.report import LayerReport

__all__ = ["LayerReport", "calibrate", "calibrate_network"]

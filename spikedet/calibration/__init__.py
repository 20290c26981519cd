"""Stage II: layer-wise calibration of initial potential and weights against the QC-ANN; joint calibration."""

from spikedet.calibration.joint import calibrate_jointly
from spikedet.calibration.layerwise import calibrate_network

__all__ = ["calibrate_jointly", "calibrate_network"]

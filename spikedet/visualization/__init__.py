"""Pictures with boxes, AP against t, and training curves."""

from spikedet.visualization.curves import plot_ap_by_t
from spikedet.visualization.draw import beside, draw_detections, save_picture
from spikedet.visualization.training import plot_training

__all__ = ["beside", "draw_detections", "plot_ap_by_t", "plot_training", "save_picture"]

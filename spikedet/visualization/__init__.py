"""Images with boxes, AP against t and by class, energy, and training curves."""

from spikedet.visualization.curves import plot_ap_by_class, plot_ap_by_t
from spikedet.visualization.data_plot import plot_data
from spikedet.visualization.draw import beside, draw_detections, draw_lines, fit_side, save_image
from spikedet.visualization.energy_plots import plot_energy
from spikedet.visualization.letters import names_beside
from spikedet.visualization.training import plot_training

__all__ = [
    "beside",
    "draw_detections",
    "draw_lines",
    "fit_side",
    "names_beside",
    "plot_ap_by_class",
    "plot_ap_by_t",
    "plot_data",
    "plot_energy",
    "plot_training",
    "save_image",
]

"""Images with boxes, AP against t and by class, energy, and training curves."""

from spikedet.visualization.draw import draw_detections

__all__ = ["draw_detections"]

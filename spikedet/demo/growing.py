"""The piece of page that shows what several networks see on one image, with a slider over t."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikedet.detections import Detections
from spikedet.inference.comparison import View
from spikedet.visualization.draw import draw_detections, fit_side
from spikedet.visualization.page import jpeg_source

SHOWN_SIDE = 640
"""Longer side of a shown image, pixels."""


def as_html(image_rgb: npt.NDArray[np.uint8], views: Sequence[View]) -> str:
    """Images with boxes side by side and a slider over t; everything the slider needs is in the page.

    A network without time shows the same at every stop; one that has stopped early stays at its last output.
    """
    shown = fit_side(image_rgb, SHOWN_SIDE)
    scale = shown.shape[1] / image_rgb.shape[1]
    steps = sorted({t for view in views for t in view.found if t})
    figures = "".join(_figure(shown, scale, view) for view in views)
    slider = ""
    if steps:
        last = len(steps) - 1
        slider = (
            f'<label class="clock">t = <output>{steps[-1]}</output>'
            f'<input type="range" aria-label="time step t" min="0" max="{last}" value="{last}"></label>'
        )
    stops_at = html.escape(json.dumps(steps))
    return f'<div class="growing" data-steps="{stops_at}">{slider}<div class="row">{figures}</div></div>'


def _figure(shown: npt.NDArray[np.uint8], scale: float, view: View) -> str:
    last = max(view.found)
    images = []
    for t, detections in view.found.items():
        drawn = draw_detections(shown, detections.scaled(scale), view.class_names)
        hidden = "" if t == last else " hidden"
        images.append(
            f'<div data-t="{t}"{hidden}><img alt="{len(detections)} boxes" src="{jpeg_source(drawn)}">'
            f"<small>{_counted(detections, view.class_names)}</small></div>"
        )
    title = f"<figcaption>{html.escape(view.title)} <small>{view.seconds * 1000:.0f} ms</small></figcaption>"
    return f"<figure>{title}{''.join(images)}</figure>"


def _counted(detections: Detections, class_names: Sequence[str]) -> str:
    """What was found, in words."""
    if not len(detections):
        return "nothing yet"
    counts = np.bincount(detections.labels, minlength=len(class_names))
    return html.escape(", ".join(f"{count} {class_names[i]}" for i, count in enumerate(counts) if count))

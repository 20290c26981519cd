"""What several networks see on one picture, at every time step that a slider can stop at, from one run of each."""

from __future__ import annotations

import base64
import html
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from spikedet.demo.family import Member
from spikedet.detections import Detections
from spikedet.visualization import draw_detections

MOST_STOPS = 16
"""Time steps that the slider stops at; each is a picture per network."""

SHOWN_SIDE = 640
"""Longer side of a shown picture, pixels."""


@dataclass(frozen=True)
class Column:
    """One network's answers: detections by time step, earliest first (0 alone for a network without time)."""

    title: str
    found: dict[int, Detections]
    class_names: tuple[str, ...]
    seconds: float


def stops(T: int) -> list[int]:
    """Time steps that the slider stops at: all of them where they are few, else fewer, closer together early on."""
    if T <= MOST_STOPS:
        return list(range(1, T + 1))
    return sorted({round(t) for t in np.geomspace(1, T, MOST_STOPS)} | {T})


def look(
    image_rgb: npt.NDArray[np.uint8], members: Sequence[Member], *, confidence: float, stable_steps: int = 0
) -> list[Column]:
    """Run every network once over one picture.

    Args:
        image_rgb: ``[H, W, 3]``.
        members: the networks.
        confidence: lowest score shown.
        stable_steps: early exit, as in ``SpikingDetector.stream``; 0 never stops early.
    """
    columns = []
    for member in members:
        detector = member.detector
        spiking = detector.meta.spiking
        with member.lock:
            started = time.perf_counter()
            found = detector.stream(
                image_rgb,
                stops(detector.T or 1) if spiking else None,
                confidence=confidence,
                stable_steps=stable_steps if spiking else 0,
            )
            answers = dict(found)
            seconds = time.perf_counter() - started
        columns.append(Column(member.title, answers, detector.class_names, seconds))
    return columns


def as_html(image_rgb: npt.NDArray[np.uint8], columns: Sequence[Column]) -> str:
    """Pictures with boxes side by side and a slider over t; everything the slider needs is in the page.

    A network without time shows the same at every stop; one that has stopped early stays at its last answer.
    """
    shown = _shrunk(image_rgb)
    scale = shown.shape[1] / image_rgb.shape[1]
    steps = sorted({t for column in columns for t in column.found if t})
    figures = "".join(_figure(shown, scale, column) for column in columns)
    slider = ""
    if steps:
        last = len(steps) - 1
        slider = (
            f'<label class="clock">t = <output>{steps[-1]}</output>'
            f'<input type="range" aria-label="time step t" min="0" max="{last}" value="{last}"></label>'
        )
    stops_at = html.escape(json.dumps(steps))
    return f'<div class="growing" data-steps="{stops_at}">{slider}<div class="row">{figures}</div></div>'


def _figure(shown: npt.NDArray[np.uint8], scale: float, column: Column) -> str:
    last = max(column.found)
    pictures = []
    for t, detections in column.found.items():
        smaller = Detections(detections.boxes_xyxy * np.float32(scale), detections.scores, detections.labels)
        drawn = draw_detections(shown, smaller, column.class_names)
        hidden = "" if t == last else " hidden"
        pictures.append(
            f'<div data-t="{t}"{hidden}><img alt="{len(detections)} boxes" src="{_data_uri(drawn)}">'
            f"<small>{_counted(detections, column.class_names)}</small></div>"
        )
    title = f"<figcaption>{html.escape(column.title)} <small>{column.seconds * 1000:.0f} ms</small></figcaption>"
    return f"<figure>{title}{''.join(pictures)}</figure>"


def _counted(detections: Detections, class_names: Sequence[str]) -> str:
    """What was found, in words."""
    if not len(detections):
        return "nothing yet"
    counts = np.bincount(detections.labels, minlength=len(class_names))
    return html.escape(", ".join(f"{count} {class_names[i]}" for i, count in enumerate(counts) if count))


def _shrunk(image_rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image_rgb.shape[:2]
    ratio = SHOWN_SIDE / max(height, width)
    if ratio >= 1:
        return image_rgb
    size_wh = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _data_uri(image_rgb: npt.NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image_rgb).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

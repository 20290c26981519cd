"""The networks that are shown beside each other: the chosen ones after those that they came from, ANN first.

Of several fine-tunings the last one is shown, and its clip ANN only where the source itself is not there. A calibrated
network stands beside itself before calibration, converted anew from its QC-ANN where that checkpoint is not there.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spikedet.checkpoint import CheckpointMeta
from spikedet.checkpoint.ancestry import with_parents
from spikedet.common.resources import find_weights
from spikedet.config import SimulationConfig
from spikedet.detections import Detections
from spikedet.evaluation.results import network_name, waiting
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.network import AnnNetwork, Network, before_calibration, load_network

MOST_STOPS = 16
"""Time steps that are shown one by one; each is an image per network."""


@dataclass
class Member:
    """One network.

    Attributes:
        title: what it is, for people.
        detector: the network.
        lock: held while it simulates, so that two browsers do not meet in one simulation.
    """

    title: str
    detector: SpikingDetector
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class View:
    """What one network sees on an image: detections by time step, earliest first (0 alone for one without time)."""

    title: str
    found: dict[int, Detections]
    class_names: tuple[str, ...]
    seconds: float


def load_family(weights: Sequence[str], how: SimulationConfig) -> list[Member]:
    """Checkpoints by path or shipped name, each after those it came from, as far as they are there.

    Raises:
        CheckpointError: a checkpoint cannot be used.
    """
    found: dict[str, Network] = {}
    qc: AnnNetwork | None = None
    for path in with_parents([find_weights(name) for name in weights]):
        network = load_network(path, how)
        meta = network.meta
        if meta.spiking:
            earlier = _title(dataclasses.replace(meta, stage="copied"))
            shown = earlier in (_title(known.meta) for known in found.values())
            if qc and not shown and (made := before_calibration(network, qc, how)):
                found[earlier] = made
            found[str(path)] = network
            continue
        if meta.stage == "qc":
            if "ann" not in found:
                found["ann"] = load_network(path, how, "ann")
            qc = network if isinstance(network, AnnNetwork) else qc
        if not (meta.stage == "ann" and meta.finetuned and "ann" in found):
            found[meta.stage] = network
    return [Member(_title(network.meta), SpikingDetector(network)) for network in found.values()]


def _title(meta: CheckpointMeta) -> str:
    if not meta.spiking:
        return network_name(meta.stage, meta.finetuned) + (f", T = {meta.T}" if meta.stage != "ann" else "")
    stage1 = ", Stage I" if meta.finetuned else ""
    neuron = {"if": "", "clif": ", C-LIF"}.get(meta.neuron or "if", f", {meta.neuron} IF")
    waits = f", {said}" if (said := waiting(meta.delay, meta.latency)) else ""
    return f"{network_name(meta.stage, meta.finetuned, meta.method)}{stage1}{neuron}{waits}, T = {meta.T}"


def stops(T: int, most: int = MOST_STOPS) -> list[int]:
    """Time steps worth showing: all of them where they are few, else fewer, closer together early on."""
    if most >= T:
        return list(range(1, T + 1))
    return sorted({round(t) for t in np.geomspace(1, T, most)} | {T})


def look(
    image_rgb: npt.NDArray[np.uint8],
    members: Sequence[Member],
    *,
    confidence: float,
    iou: float = 0.7,
    stable_steps: int = 0,
    steps: Sequence[int] = (),
) -> list[View]:
    """Run every network once over one image.

    Args:
        image_rgb: ``[H, W, 3]``.
        members: the networks.
        confidence: lowest score shown.
        iou: overlap above which the weaker of two boxes of a class is dropped.
        stable_steps: early exit, as in ``SpikingDetector.stream``; 0 never stops early.
        steps: time steps to read out, a network's own T for those beyond it; ``stops`` of its T unless given.
    """
    views = []
    for member in members:
        detector, T = member.detector, member.detector.T or 1
        wanted = sorted({min(t, T) for t in steps}) or stops(T)
        with member.lock:
            started = time.perf_counter()
            found = detector.stream(image_rgb, wanted, confidence=confidence, iou=iou, stable_steps=stable_steps)
            outputs = dict(found)
            seconds = time.perf_counter() - started
        views.append(View(member.title, outputs, detector.class_names, seconds))
    return views

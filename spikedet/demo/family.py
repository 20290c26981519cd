"""The networks that a page shows side by side: the chosen ones after those that they came from, ANN first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from spikedet.config import SimulationConfig
from spikedet.detector import SpikingDetector
from spikedet.evaluate import variants, with_parents
from spikedet.evaluation.results import network_title
from spikedet.resources import find_weights


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


def load_family(weights: Sequence[str], how: SimulationConfig) -> list[Member]:
    """Checkpoints by path or shipped name, each after those it came from, as far as they are there.

    Raises:
        CheckpointError: a checkpoint cannot be used.
    """
    members = []
    for path in with_parents([find_weights(name) for name in weights]):
        for _, network in variants(path, how):
            meta = network.meta
            title = network_title(meta.stage, meta.finetuned)
            members.append(Member(title if meta.stage == "ann" else f"{title}, T = {meta.T}", SpikingDetector(network)))
    return members

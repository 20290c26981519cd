"""The networks that a page shows side by side: the chosen ones after those that they came from, ANN first.

Of several fine-tunings the last one is shown, and its clip ANN only where the source itself is not there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from spikedet.checkpoint import CheckpointMeta
from spikedet.config import SimulationConfig
from spikedet.detector import SpikingDetector
from spikedet.evaluation.results import network_name
from spikedet.lineage import variants, with_parents
from spikedet.networks import Network
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
    found: dict[str, Network] = {}
    for path in with_parents([find_weights(name) for name in weights]):
        for _, network in variants(path, how):
            meta = network.meta
            if meta.spiking:
                found[str(path)] = network
            elif meta.stage == "qc" or not (meta.finetuned and "ann" in found):
                found[meta.stage] = network
    return [Member(_title(network.meta), SpikingDetector(network)) for network in found.values()]


def _title(meta: CheckpointMeta) -> str:
    title = network_name(meta.stage, meta.finetuned)
    return title if meta.stage == "ann" else f"{title}, T = {meta.T}"

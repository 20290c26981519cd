"""The networks that a checkpoint came from, and the networks that one checkpoint stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from spikedet.checkpoint.metadata import CheckpointMeta, read_meta
from spikedet.common.digests import file_sha256
from spikedet.config import SimulationConfig
from spikedet.conversion import to_spiking
from spikedet.inference.network import AnnNetwork, Network, SnnNetwork, load_network
from spikedet.models import load_ann


def with_parents(paths: Sequence[Path]) -> list[Path]:
    """Each checkpoint after the checkpoints it came from, as far as those are still where they were, unchanged."""
    ordered: dict[str, Path] = {}

    def visit(path: Path) -> None:
        digest = file_sha256(path) if path.is_file() else str(path)
        if digest in ordered:
            return
        parent = read_meta(path).parent
        if parent and Path(parent["file"]).is_file() and file_sha256(Path(parent["file"])) == parent["sha256"]:
            visit(Path(parent["file"]))
        ordered.setdefault(digest, path)

    for path in paths:
        visit(path)
    return list(ordered.values())


def lineage(digest: str, parents: Mapping[str, str | None]) -> set[str]:
    """A checkpoint's digest and those of the checkpoints it came from, by ``digest -> parent's digest``."""
    found: set[str] = set()
    current: str | None = digest
    while current is not None and current not in found:
        found.add(current)
        current = parents.get(current)
    return found


def variants(path: Path, how: SimulationConfig) -> list[tuple[str, Network]]:
    """The networks that one checkpoint stands for: a QC checkpoint is a clip ANN and a QC-ANN."""
    meta = read_meta(path)
    if meta.stage != "qc":
        return [(meta.stage, load_network(path, how))]
    model, meta = load_ann(path)
    clip = AnnNetwork(model, dataclasses.replace(meta, stage="ann"), device=how.device)
    return [("ann", clip), ("qc", AnnNetwork(model, meta, meta.T, device=how.device))]


def before_calibration(calibrated: CheckpointMeta, qc: AnnNetwork, how: SimulationConfig) -> Network | None:
    """The network that a calibrated one was before Stage II, converted anew from its QC-ANN; None if it has no such."""
    same_task = (qc.meta.architecture, qc.meta.class_names) == (calibrated.architecture, calibrated.class_names)
    if not same_task or not calibrated.finetuned or calibrated.stage == "copied":
        return None
    T, neuron = calibrated.T, calibrated.neuron
    assert T is not None and neuron is not None
    network = to_spiking(
        qc.model,
        T,
        neuron=neuron,
        delay=calibrated.delay,
        max_pool=calibrated.max_pool,
        linear=calibrated.linear,
    )
    return SnnNetwork(network, dataclasses.replace(calibrated, stage="copied", notes={}), how)

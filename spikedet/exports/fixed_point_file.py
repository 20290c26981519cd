"""A spiking network in which no sum is rounded, as a checkpoint: every engine sends its spikes."""

from __future__ import annotations

from pathlib import Path

from spikedet.conversion import load_spiking, save_spiking
from spikedet.conversion.fixed_point import to_fixed_point
from spikedet.exports.subject import Outputs, Run, Subject
from spikedet.models.postprocess import decode_maps


def write(subject: Subject, path: Path) -> dict[str, str]:
    """Write the checkpoint. Raises ExportError for a network that has no such form."""
    network, errors = to_fixed_point(subject.network)
    source = Path(subject.config.checkpoint)
    save_spiking(path, network, subject.meta.child(source) if source.is_file() else subject.meta)
    worst = max(errors, key=lambda name: errors[name], default=None)
    if worst is None:
        return {}
    return {"weights rounded by at most": f"{100 * errors[worst]:.2g} % of their size ({worst})"}


def run(path: Path) -> Run:
    """The checkpoint as a function of images."""
    network, _ = load_spiking(path)
    return lambda images: {
        t: Outputs(decode_maps(network, reading.maps), reading.spikes) for t, reading in network(images).items()
    }

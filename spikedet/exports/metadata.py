"""What an exported file says about itself: one JSON text under the key ``spikedet``, written and read here alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from spikedet.checkpoint import CheckpointMeta
from spikedet.checkpoint.metadata import MOST_METADATA
from spikedet.common.environment import versions
from spikedet.common.errors import CheckpointError
from spikedet.common.typed import typed
from spikedet.config.export import ExportBoxes, ExportFormat, ExportPrecision

KEY = "spikedet"
FORMAT = 1
"""Version of this layout."""


@dataclass(frozen=True)
class ExportMeta:
    """Metadata of an exported file.

    Attributes:
        network: of the checkpoint, without its graph, settings and paths: class names, image size, T, stage, neuron;
            its parent is that checkpoint.
        to: format of the file.
        strides: pixels per cell of each scale, in the order of the outputs.
        steps: time steps that it gives outputs at; empty without time.
        wait: steps before the windows of the outputs begin: firing delays along the longest path.
        boxes: "" for the head's raw maps, "all" or "nms".
        precision: of its weights and activations.
        thresholds: theta per channel by layer, in activation units.
        version: of the spikedet that wrote it.
        format: version of this layout.
    """

    network: CheckpointMeta
    to: ExportFormat
    strides: Annotated[tuple[float, ...], Meta(min_length=1, max_length=16)]
    steps: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    wait: Annotated[int, Meta(ge=0)] = 0
    boxes: ExportBoxes = ""
    precision: ExportPrecision = "fp32"
    thresholds: dict[str, list[float]] = field(default_factory=dict)
    version: str = field(default_factory=lambda: versions()["spikedet"])
    format: Annotated[int, Meta(ge=1, le=FORMAT)] = FORMAT


def without_history(meta: CheckpointMeta) -> CheckpointMeta:
    """What a network is, without how and where it was made."""
    return dataclasses.replace(meta, data={}, config={}, parent=None, graph=None, notes={})


def to_text(meta: ExportMeta) -> str:
    """The metadata as JSON."""
    return msgspec.json.encode(meta).decode()


def from_text(text: str | None, where: str) -> ExportMeta:
    """What ``to_text`` wrote.

    Args:
        text: the file's value of ``KEY``; None where it has none.
        where: the file, for messages.

    Raises:
        CheckpointError: it is none of ours, or not valid.
    """
    if text is None:
        raise CheckpointError(f"{where}: not exported by spikedet (it has no metadata of the key {KEY!r})")
    if len(text) > MOST_METADATA:
        raise CheckpointError(f"{where}: its metadata has {len(text)} bytes; expected at most {MOST_METADATA}")
    return typed(ExportMeta, text, f"{where}: its metadata is not valid", CheckpointError)


def output_names(meta: ExportMeta) -> dict[int, list[str]]:
    """Names of a file's outputs by time step (0 without time), as every format has them.

    ``boxes_0``, ``classes_0``, ``boxes_1``, ... raw maps by scale; ``predictions`` or ``detections`` with ``boxes``.
    A spiking network has ``spikes`` after these. Its names end in the time step: ``boxes_0_t8``.
    """
    names = {"all": ["predictions"], "nms": ["detections"]}.get(meta.boxes)
    if names is None:
        names = [f"{kind}_{scale}" for scale in range(len(meta.strides)) for kind in ("boxes", "classes")]
    if not meta.steps:
        return {0: names}
    return {t: [f"{name}_t{t}" for name in (*names, "spikes")] for t in meta.steps}

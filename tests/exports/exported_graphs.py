"""Graphs that are no detectors, exported and run: what comes out of every output layer, and spike counts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikedet.checkpoint import CheckpointMeta
from spikedet.config import ExportConfig, Linear
from spikedet.exports import Subject
from spikedet.snn import SpikingNetwork, make_backend, simulate

SPIKES = "spikes"


@dataclasses.dataclass(frozen=True)
class AnySubject(Subject):
    """A network for images of any height and width."""

    hw: tuple[int, int] = (0, 0)

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.hw


def subject(
    network: SpikingNetwork,
    images: Tensor,
    stage: Any = "copied",
    T: int | None = None,
    linear: Linear = "spiking",
    **settings: Any,
) -> AnySubject:
    """A network as what is exported, for images like these."""
    spiking = stage == "copied"
    meta = CheckpointMeta(
        stage=stage,
        model="graph",
        architecture={},
        class_names=("cell", "dot"),
        image_size=32,
        T=(T or network.T) if stage != "ann" else None,
        neuron=network.neuron if spiking else None,
        linear=linear,
    )
    config = ExportConfig(checkpoint="graph", out="graph.onnx", **settings)
    return AnySubject(network, meta, config, (images.shape[2], images.shape[3]))


def run_onnx(model: Any, images: Tensor) -> dict[str, Tensor]:
    """Every output of a model by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(names, {"image": images.numpy()})
    return {name: torch.from_numpy(a) for name, a in zip(names, arrays, strict=True)}


def expected_spiking(network: SpikingNetwork, images: Tensor, steps: tuple[int, ...]) -> dict[str, Tensor]:
    """Outputs of exact mode, by the names of the exported file."""
    made: dict[str, Tensor] = {}
    for reading in simulate(network, images, steps, T=network.T, backend=make_backend(network)):
        for scale, (box, kind) in enumerate(zip(network.box_readouts, network.class_readouts, strict=True)):
            made[f"boxes_{scale}_t{reading.t}"] = reading.maps[box]
            made[f"classes_{scale}_t{reading.t}"] = reading.maps[kind]
        made[f"{SPIKES}_t{reading.t}"] = reading.spikes
    return made


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], where: object = "") -> None:
    """Equal spike counts, maps up to the rounding of the last division."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith(SPIKES):
            assert torch.equal(found[name].double(), value.double()), (where, name, found[name], value)
        else:
            torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=f"{where} {name}")


def written(path: Path) -> list[str]:
    """Names in a folder."""
    return sorted(item.name for item in path.iterdir())

"""Files that earlier versions wrote: read, and the same outputs.

``before/`` holds checkpoints of format 1, results and the outputs of that version.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.conversion import load_spiking, save_spiking
from spikedet.evaluation import read_results
from spikedet.inference.network import load_network

BEFORE = Path(__file__).parent / "before"
STAGES = ("ann", "qc", "fine")


def images() -> torch.Tensor:
    return torch.arange(3 * 32 * 32).view(1, 3, 32, 32).remainder(37) / 37


@pytest.mark.parametrize("stage", STAGES)
def test_outputs_are_those_of_before(stage: str) -> None:
    expected = json.loads((BEFORE / "outputs.json").read_text())
    network = load_network(BEFORE / f"{stage}.safetensors")
    assert (network.meta.format, network.meta.graph) == (1, None)
    found = network(images(), [1, 4])
    assert [f"{stage} {t}" for t in found] == [name for name in expected if name.startswith(stage)]
    for t, prediction in found.items():
        known = expected[f"{stage} {t}"]
        torch.testing.assert_close(prediction.decoded[0, :, 0], torch.tensor(known["first"]), rtol=1e-4, atol=1e-5)
        assert prediction.decoded.double().sum().item() == pytest.approx(known["sum"], rel=1e-4)
        if prediction.spikes is not None:
            assert prediction.spikes.tolist() == pytest.approx(known["spikes"], rel=0.01)


@torch.no_grad()
def test_a_network_with_its_graph_is_the_one_of_before(tmp_path: Path) -> None:
    network, meta = load_spiking(BEFORE / "fine.safetensors")
    again = save_spiking(tmp_path / "fine.safetensors", network, meta)
    assert load_checkpoint(again)[1].graph is not None
    first, second = (load_network(path)(images(), [1, 2, 4]) for path in (BEFORE / "fine.safetensors", again))
    assert all(torch.equal(first[t].decoded, second[t].decoded) for t in (1, 2, 4))


def test_what_a_checkpoint_of_before_says() -> None:
    tensors, meta = load_checkpoint(BEFORE / "qc.safetensors")
    assert (meta.stage, meta.T, meta.finetuned, meta.class_names, meta.image_size) == ("qc", 4, True, ("a", "b"), 32)
    assert meta.held_out("shapes", "train") == (0.1, 0)
    assert meta.parent is not None and meta.parent["stage"] == "ann"
    assert meta.notes == {"held_out": {"AP": 1.5}}
    assert {value.dtype for value in tensors.values()} == {torch.float32, torch.int64}


def test_metadata_of_before_may_hold_numbers_that_json_has_not(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(BEFORE / "ann.safetensors")
    meta.notes["loss"] = float("nan")
    notes = load_checkpoint(save_checkpoint(tmp_path / "a.safetensors", tensors, meta))[1].notes
    assert notes["loss"] != notes["loss"]


def test_results_of_before() -> None:
    meta, (ann, snn) = read_results(BEFORE / "results.json")
    assert meta["checkpoints"] == {"fine.safetensors": "1" * 64}
    assert (ann.stage, ann.AP, ann.activation, ann.neuron) == ("ann", 60.0, "leaky", None)
    assert (snn.T, snn.t, snn.L, snn.delay, snn.loss_ci95, snn.calibrated) == (4, 2, 7, 1, (-0.5, 1.25), "W")
    assert snn.per_class == {"a": {"AP": 59.1, "AP50": None}}

"""Checkpoints of every stage behind one interface."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_detector import IMAGE_SIZE, T, chain
from torch import Tensor

from spikedet.commands.convert import convert
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.config import ConvertConfig, SimulationConfig
from spikedet.conversion import load_spiking
from spikedet.inference.network import (
    ANN_STEP,
    AnnNetwork,
    SnnNetwork,
    load_network,
    network_names,
    require_steps,
)
from spikedet.models import as_qc, load_ann
from spikedet.models.postprocess import decode_head
from spikedet.snn import simulate

SPIKING = ("copied", "coarse", "fine")
CELLS = 8 * 8 + 4 * 4


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stage", ["ann", "qc", *SPIKING])
@pytest.mark.parametrize("kind", [str, Path])
def test_every_stage_predicts_boxes_and_class_scores(stage: str, kind: type) -> None:
    network = load_network(kind(chain()[stage]))
    assert network.meta.stage == stage
    found = network(images(), network.steps([]))
    assert [prediction.decoded.shape for prediction in found.values()] == [(2, 4 + 4, CELLS)]
    (only,) = found.values()
    assert 0 <= only.decoded[:, 4:].min() < only.decoded[:, 4:].max() <= 1


@torch.no_grad()
def test_a_source_predicts_what_its_model_does() -> None:
    model, _ = load_ann(chain()["ann"])
    found = load_network(chain()["ann"])(images(), [ANN_STEP])
    assert torch.equal(found[ANN_STEP].decoded, model(images())[0])
    assert found[ANN_STEP].spikes is None


@torch.no_grad()
def test_a_qc_checkpoint_predicts_with_quantization_without_noise() -> None:
    model, _ = load_ann(chain()["qc"])
    found = load_network(chain()["qc"])(images(), [ANN_STEP])
    assert torch.equal(found[ANN_STEP].decoded, as_qc(model, T).eval()(images())[0])
    assert not torch.equal(found[ANN_STEP].decoded, model(images())[0])


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_a_spiking_network_predicts_what_it_reads_out(chunk: int) -> None:
    network, _ = load_spiking(chain()["fine"])
    found = load_network(chain()["fine"], SimulationConfig(chunk=chunk))(images(), [1, 3])
    assert list(found) == [1, 3]
    for reading in simulate(network, images(), [1, 3], T=T):
        boxes, classes = ([reading.maps[n] for n in names] for names in (network.box_readouts, network.class_readouts))
        assert torch.equal(found[reading.t].decoded, decode_head(boxes, classes, network.strides))
        spikes = found[reading.t].spikes
        assert spikes is not None
        assert torch.equal(spikes, reading.spikes)
        assert spikes.shape == (2,)


@pytest.mark.parametrize("delay", [0, 1])
def test_early_read_outs_belong_to_the_same_run(tmp_path: Path, delay: int) -> None:
    """With a firing delay the window that is simulated matters: it is T, however early the read-out."""
    (copied,) = convert(ConvertConfig(checkpoint=str(chain()["qc"]), delay=delay, out=str(tmp_path)))
    network = load_network(copied)
    alone, together = network(images(), [2]), network(images(), [2, T])
    assert torch.equal(alone[2].decoded, together[2].decoded)
    assert not torch.equal(together[2].decoded, together[T].decoded)


@pytest.mark.parametrize(
    ("stage", "requested", "steps"),
    [
        ("ann", [], [ANN_STEP]),
        ("ann", [2, 4], [ANN_STEP]),
        ("qc", [2], [ANN_STEP]),
        ("fine", [], [T]),
        ("fine", [1, 2, 4], [1, 2, 4]),
        ("fine", [2, 4, 8], [2, 4]),
        ("fine", [8], []),
    ],
)
def test_steps_that_can_be_read_out(stage: str, requested: list[int], steps: list[int]) -> None:
    assert load_network(chain()[stage]).steps(requested) == steps


@pytest.mark.parametrize("requested", [[8], [4, 8], [8, 9]])
def test_steps_beyond_the_window_are_refused_where_all_are_required(requested: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"converted for T = 4; time steps must lie in 1\.\.T"):
        require_steps(load_network(chain()["fine"]), requested)


@pytest.mark.parametrize("requested", [[4, 4, 8], [0], [-1]])
def test_no_step_outside_the_window_is_overlooked(requested: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"time steps must lie in 1\.\.T"):
        require_steps(load_network(chain()["fine"]), requested)


@pytest.mark.parametrize(("stage", "requested"), [("ann", [8]), ("fine", [4, 2]), ("fine", [])])
def test_steps_that_are_there_pass(stage: str, requested: list[int]) -> None:
    network = load_network(chain()[stage])
    assert require_steps(network, requested) == network.steps(requested)


def test_latency_is_the_networks_and_an_ann_has_none(tmp_path: Path) -> None:
    assert load_network(chain()["ann"]).latency(ANN_STEP) is None
    assert load_network(chain()["fine"]).latency(2) == 2
    (delayed,) = convert(ConvertConfig(checkpoint=str(chain()["qc"]), delay=1, out=str(tmp_path)))
    network = load_network(delayed)
    assert isinstance(network, SnnNetwork)
    assert network.latency(2) == network.network.latency(2) > 2


def test_a_call_takes_one_time_step_or_several_and_refuses_those_beyond() -> None:
    network = load_network(chain()["fine"])
    assert [list(network(images(), t)) for t in (2, (1, 3), ())] == [[2], [1, 3], [T]]
    assert list(load_network(chain()["ann"])(images(), 2)) == [ANN_STEP]
    with pytest.raises(ConfigError, match=r"time steps must lie in 1\.\.T"):
        network(images(), [2, 8])


def test_operations_are_counted_where_they_are_asked_for() -> None:
    network = load_network(chain()["fine"])
    assert isinstance(network, SnnNetwork)
    (plain,), (counted,) = network(images()).values(), network(images(), count_sops=True).values()
    assert plain.operations is None and plain.sops is None and counted.operations is not None
    layers = [node.name for node in network.network.nodes if hasattr(node.module, "weight")]
    assert counted.operations.shape == (2, len(layers), T, 2)
    assert torch.equal(counted.operations[1].sum((0, 1)), counted.spikes)


def test_kinds() -> None:
    kinds = [type(load_network(chain()[stage])) for stage in ("ann", "qc", *SPIKING)]
    assert kinds == [AnnNetwork, AnnNetwork, SnnNetwork, SnnNetwork, SnnNetwork]


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such checkpoint"):
        load_network(tmp_path / "none.safetensors")


@torch.no_grad()
def test_the_clip_ann_of_a_qc_checkpoint_is_asked_for_by_name() -> None:
    model, _ = load_ann(chain()["qc"])
    clip = load_network(chain()["qc"], name="ann")
    assert (clip.meta.stage, clip.meta.finetuned) == ("ann", True)
    assert torch.equal(clip(images())[ANN_STEP].decoded, model(images())[0])
    assert {stage: network_names(chain()[stage]) for stage in ("ann", "qc", "fine")} == {
        "ann": ("ann",),
        "qc": ("ann", "qc"),
        "fine": ("fine",),
    }
    with pytest.raises(CheckpointError, match=r"fine\.safetensors: holds fine, no network of the name 'ann'"):
        load_network(chain()["fine"], name="ann")


def test_no_more_steps_than_there_are_are_said_to_need_memory() -> None:
    said = [load_network(chain()["copied"], SimulationConfig(chunk=chunk)).describe(500) for chunk in (T, 10**9)]
    assert said[0] == said[1]
    assert said[0] != load_network(chain()["copied"], SimulationConfig(chunk=1)).describe(500)

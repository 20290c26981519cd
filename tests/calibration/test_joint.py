"""Joint calibration: the spiking network's forward pass, gradients by hand, and from checkpoint to checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from calibration_graphs import branching, moved, reading, sample_images, spiking
from tiny_detector import IMAGE_SIZE, chain, fingerprint, same
from torch import nn

from spikedet.calibration.fine import parameter_groups
from spikedet.calibration.images import TrainingImages
from spikedet.calibration.joint import WARM_UP, JointCalibration, calibrate_jointly, outputs_with_rates, schedule
from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.checkpoint.state import load_state, save_state
from spikedet.commands import joint as joint_command
from spikedet.commands.convert import convert
from spikedet.commands.joint import joint, teacher
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError, TrainingError
from spikedet.config import ConvertConfig, JointConfig, MaxPoolRule, Precision
from spikedet.conversion import load_spiking
from spikedet.data import load_dataset
from spikedet.models import load_ann
from spikedet.models.postprocess import decode_maps
from spikedet.snn import IMAGE, Node, SpikingNetwork, simulate
from spikedet.snn.operations import MaxPool
from spikedet.training.sparsity import operation_shares

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {"epochs": 2, "batch": 4, "held_out": 0.25, "lr": 1e-2, "precision": "fp32"}


def run(out: Path, stage: str = "fine", **changes: Any) -> Path:
    return joint(JointConfig(checkpoint=str(chain()[stage]), out=str(out), **{**SHORT, **changes}))


def calibration(**changes: Any) -> JointCalibration:
    """In memory, of the chain's fine network."""
    network, meta = load_spiking(chain()["fine"])
    rest, held_out = load_dataset(*meta.training_data("", "")).hold_out(0.25, 0)
    ann = teacher(chain()["ann"], torch.device("cpu"))
    config = JointConfig(checkpoint="x", **{**SHORT, **changes})
    inputs, selection_images = (TrainingImages(part, IMAGE_SIZE, torch.device("cpu")) for part in (rest, held_out))
    return JointCalibration(network, ann, inputs, selection_images, config)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of the chain's fine network; not to be changed."""
    return run(tmp_path_factory.mktemp("joint"))


def test_in_memory_it_gives_the_network_of_the_command(written: Path) -> None:
    network, meta = load_spiking(chain()["fine"])
    before = {name: value.clone() for name, value in network.tensors().items()}
    ann, _ = load_ann(chain()["ann"])
    images = load_dataset(*meta.training_data("", ""))
    made, losses = calibrate_jointly(network, ann, images, meta.image_size, JointConfig(checkpoint="", **SHORT))
    tensors, of_command = load_checkpoint(written)
    assert same(made.tensors(), tensors) and not same(made.tensors(), before)
    assert losses == of_command.notes["held_out_losses"]
    assert same(network.tensors(), before)


# --- the forward pass and its gradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", ["if", "signed", "mixed"])
@pytest.mark.parametrize("delay", [0, 2, 8])
def test_it_answers_as_the_spiking_network_does(neuron: str, delay: int) -> None:
    network, images = moved(branching(neuron, delay)), sample_images()
    (reading,) = simulate(network, images, [network.T])
    maps = outputs_with_rates(network, images)[0]
    for name, readouts in (("boxes", network.box_readouts), ("scores", network.class_readouts)):
        expected = torch.cat([reading.maps[readout].flatten(2) for readout in readouts], 2)
        torch.testing.assert_close(maps[name], expected, rtol=1e-5, atol=1e-5)


def test_an_analog_current_is_trained_too() -> None:
    network, images = branching("mixed"), sample_images()
    outputs_with_rates(network, images)[0]["scores"].sum().backward()
    layer = dict((node.name, node.module) for node in network.nodes)["current"]
    assert layer.weight.grad is not None and layer.weight.grad.any()  # type: ignore[union-attr]
    assert [group["lr"] > 0 for group in parameter_groups(layer, 1e-3)] == [True, True]  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_neurons_that_wait_answer_without_a_simulation(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = moved(branching(delay=8)), sample_images()
    (reading,) = simulate(network, images, [network.T])
    monkeypatch.delattr("spikedet.snn.rates.simulate")
    maps, rates = outputs_with_rates(network, images, precision)
    spikes = sum(float(rate.detach().sum()) for rate in rates.values()) * network.T
    assert spikes == pytest.approx(float(reading.spikes.sum()))
    maps["scores"].sum().backward()
    assert all(layer.u0.grad is not None for node, layer in network.spiking() if node.name != "skip")


@pytest.mark.parametrize("delay", [0, 8])
@pytest.mark.parametrize("rule", ["count", "or"])
def test_maxima_are_those_of_the_spikes(rule: MaxPoolRule, delay: int) -> None:
    nodes = [
        Node("stem", (IMAGE,), spiking(3, 4, delay=delay)),
        Node("next", ("stem",), spiking(4, 4, delay=delay)),
        Node("pool", ("next",), MaxPool(nn.MaxPool2d(2), rule)),
        Node("box", ("pool",), reading(4)),
        Node("class", ("pool",), reading(4)),
    ]
    network, images = SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([2.0]), 8), sample_images()
    (read,) = simulate(network, images, [network.T])
    maps = outputs_with_rates(network, images)[0]
    torch.testing.assert_close(maps["boxes"], read.maps["box"].flatten(2), rtol=1e-5, atol=1e-5)


def test_an_initial_potential_counts_as_a_bias_over_t() -> None:
    network = moved(branching())
    outputs_with_rates(network, sample_images())[0]["boxes"].square().sum().backward()
    seen = 0.0
    for _, layer in network.spiking():
        if layer.bias.grad is not None:  # layers that the boxes see
            assert layer.u0.grad is not None
            torch.testing.assert_close(layer.u0.grad, layer.bias.grad / network.T)
            seen += float(layer.u0.grad.abs().sum())
    assert seen > 0


def test_gradients_stop_where_a_neuron_cannot_follow() -> None:
    """Silent far below zero, saturated far above theta; between them dr/d bias = 1 for each place."""
    network = branching()
    (_, layer), *_ = network.spiking()
    with torch.no_grad():
        layer.weight.zero_()
        layer.theta.fill_(1.0)
        layer.u0.fill_(0.5)
        layer.bias.copy_(torch.tensor([-1.0, 0.25, 0.75, 3.0]))
    rates = outputs_with_rates(network, sample_images(1))[1]["stem"]
    assert rates[0, :, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]
    rates.sum().backward()
    places = rates[0, 0].numel()
    assert layer.bias.grad is not None and layer.bias.grad.tolist() == [0.0, places, places, 0.0]


def test_an_initial_potential_per_neuron() -> None:
    network, images = moved(branching()), sample_images()
    plain = outputs_with_rates(network, images)[0]["boxes"]
    shapes = network.shapes((8, 8))
    for node, layer in network.spiking():
        layer.u0 = nn.Parameter(layer.u0.detach().view(-1, 1, 1).expand(shapes[node.name]).clone())
    found = outputs_with_rates(network, images)[0]["boxes"]
    assert torch.equal(found, plain)
    found.sum().backward()


def test_the_rate_by_hand() -> None:
    assert schedule(0, 100) == pytest.approx(1 / WARM_UP)
    assert schedule(50, 100) == pytest.approx(0.51)  # halfway between 1 and 0.02
    assert schedule(99, 100) < 0.021


# --- training -------------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_theta_stays() -> None:
    run = calibration(epochs=3)
    thetas = [layer.theta.clone() for _, layer in run.network.spiking()]
    run.begin()
    losses = [run.epoch() for _ in range(3)]
    assert losses[-1] < losses[0]
    assert min(run.progress.losses) < run.progress.losses[0]
    assert all(torch.equal(layer.theta, theta) for (_, layer), theta in zip(run.network.spiking(), thetas, strict=True))


def test_the_state_before_training_competes() -> None:
    run = calibration(lr=3.0)  # far too much
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.begin()
    run.epoch()
    assert run.progress.losses[1] > run.progress.losses[0]
    assert same(run.progress.best, before) and not same(dict(run.network.state_dict()), before)


def test_a_loss_that_is_not_finite_stops_it() -> None:
    run = calibration()
    next(layer for _, layer in run.network.spiking()).bias.data.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"epoch 1: the loss is no longer finite; try a lower --lr"):
        run.epoch()


@pytest.mark.parametrize(("done", "good"), [(0, r"fine\.safetensors"), (1, r"joint-state\.safetensors")])
def test_the_last_good_network_is_named(done: int, good: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = JointCalibration._step

    def poisoned(self: JointCalibration, *batch: Any) -> float:
        if self.progress.epoch == done:
            next(layer for _, layer in self.network.spiking()).bias.data.fill_(float("nan"))
        return step(self, *batch)

    monkeypatch.setattr(JointCalibration, "_step", poisoned)
    with pytest.raises(TrainingError, match=rf"epoch {done + 1}: the loss is no longer finite; .* is in .*{good}$"):
        run(tmp_path)


def test_a_penalty_on_firing_makes_it_fire_less() -> None:
    fired = {}
    for sparsity in (0.0, 20.0):
        run = calibration(epochs=2, sparsity=sparsity)
        run.begin()
        for _ in range(2):
            run.epoch()
        shares = operation_shares(run.network, (IMAGE_SIZE, IMAGE_SIZE))
        with torch.no_grad():
            rates = outputs_with_rates(run.network, torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE))[1]
        fired[sparsity] = sum(share * float(rates[name].mean()) for name, share in shares.items())
    assert fired[20.0] < fired[0.0]


# --- from checkpoint to checkpoint ----------------------------------------------------------------------------------


def test_a_network_is_written_and_nothing_read_changes(tmp_path: Path) -> None:
    before, stage = (fingerprint(chain().folder), fingerprint(chain().images)), "copied"
    path = run(tmp_path, stage)
    assert [p.name for p in tmp_path.iterdir()] == ["joint.safetensors"]
    assert (fingerprint(chain().folder), fingerprint(chain().images)) == before
    network, meta = load_spiking(path)
    assert (meta.stage, meta.parent["stage"] if meta.parent else "") == ("joint", stage)
    assert meta.config["joint"]["epochs"] == 2 and len(meta.notes["held_out_losses"]) == 3
    (reading,) = simulate(network, torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE), [network.T])
    assert torch.isfinite(decode_maps(network, reading.maps)).all()


def test_an_interrupted_one_ends_bit_by_bit_as_it_would_have(
    tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_checkpoint(written)[0]
    epoch = JointCalibration.epoch

    def once(self: JointCalibration) -> float:
        if self.progress.epoch:
            raise KeyboardInterrupt
        return epoch(self)

    with monkeypatch.context() as patch:
        patch.setattr(JointCalibration, "epoch", once)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts")
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["joint-state.safetensors"]
    assert same(load_checkpoint(run(tmp_path / "parts", resume=True))[0], whole)


def test_one_that_is_done_is_not_done_again(tmp_path: Path, written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(shutil.copy2(written, tmp_path))
    before = path.stat().st_mtime_ns
    run(tmp_path, resume=True)
    assert path.stat().st_mtime_ns == before and "already calibrated" in capsys.readouterr().out
    run(tmp_path, resume=True, epochs=1)
    assert path.stat().st_mtime_ns != before


def test_the_same_calibration_writes_the_same_file(written: Path) -> None:
    first = file_sha256(written)
    assert file_sha256(run(written.parent)) == first


def interrupt_at_the_end(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last epoch, before the network is written."""

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spikedet.commands.joint.save_spiking", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(out)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a calibration that stopped at its end; not to be changed."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at_the_end(folder, patch)
    return folder / "joint-state.safetensors"


def test_a_state_of_another_calibration_is_refused_and_stays(tmp_path: Path, interrupted: Path) -> None:
    shutil.copy2(interrupted, tmp_path)
    before = fingerprint(tmp_path)
    with pytest.raises(CheckpointError, match=r"joint-state\.safetensors: the state of a calibration of another"):
        run(tmp_path, resume=True, lr=2e-2)
    assert fingerprint(tmp_path) == before


def no_longer_finite(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values())).fill_(float("nan"))


Damage = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], object]
"""Of a state's modules, optimizer and facts, in place."""

DAMAGES: dict[str, Damage] = {
    "no network": lambda modules, optimizer, facts: modules.pop("network"),
    "another layer": lambda modules, optimizer, facts: modules["network"].update({"model.99.weight": torch.zeros(1)}),
    "nan in the best": lambda modules, optimizer, facts: no_longer_finite(modules["best"]),
    "an epoch too many": lambda modules, optimizer, facts: facts.update(epoch=facts["epoch"] + 1),
    "an epoch too few": lambda modules, optimizer, facts: facts.update(epoch=facts["epoch"] - 1),
    "losses in words": lambda modules, optimizer, facts: facts.update(losses=["low"]),
    "a moment less": lambda modules, optimizer, facts: optimizer["state"][0].pop("exp_avg"),
    "steps": lambda modules, optimizer, facts: optimizer["state"][0]["step"].fill_(-1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_state_is_refused(damage: Damage, tmp_path: Path, interrupted: Path) -> None:
    state = tmp_path / "joint-state.safetensors"
    modules, optimizer, facts = load_state(interrupted)
    damage(modules, optimizer, facts)
    save_state(state, modules, optimizer, facts)
    with pytest.raises(CheckpointError, match=r"joint-state\.safetensors: not a state of this .*; go without --resume"):
        run(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["joint-state.safetensors"]


def orphan(stage: str, folder: Path, **changed: Any) -> Path:
    """A checkpoint that does not say where it came from."""
    tensors, meta = load_checkpoint(chain()[stage])
    return save_checkpoint(folder / f"{stage}.safetensors", tensors, dataclasses.replace(meta, parent=None, **changed))


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path) -> None:
    fine = str(orphan("fine", tmp_path))
    with pytest.raises(ConfigError, match=r"fine\.safetensors: the ANN it was made from is not where it was; name it"):
        joint(JointConfig(checkpoint=fine))
    with pytest.raises(CheckpointError, match=r"a converted network"):
        joint(JointConfig(checkpoint=fine, teacher=fine))
    with pytest.raises(ConfigError, match=r"ann\.safetensors: its classes are not those of"):
        joint(JointConfig(checkpoint=fine, teacher=str(orphan("ann", tmp_path, class_names=tuple("abcd")))))
    with pytest.raises(CheckpointError, match=r"ann"):
        joint(JointConfig(checkpoint=str(chain()["ann"])))


def test_the_teacher_of_a_network_from_integer_training_is_that_network(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["ann"])
    facts: dict[str, Any] = {"stage": "sfa", "method": "sfa", "T": 4, "D": 4, "beta": 0.25}
    sfa = save_checkpoint(tmp_path / "sfa.safetensors", tensors, dataclasses.replace(meta, parent=None, **facts))
    (copied,) = convert(ConvertConfig(checkpoint=str(sfa)))
    assert joint_command.find_teacher(JointConfig(checkpoint=str(copied))) == sfa


def test_a_named_teacher_is_taken(tmp_path: Path) -> None:
    fine = str(orphan("fine", tmp_path))
    path = joint(JointConfig(checkpoint=fine, teacher=str(chain()["qc"]), **SHORT))
    assert read_meta(path).config["joint"]["teacher"] == str(chain()["qc"])


@pytest.mark.parametrize(("ann", "qc", "said"), [(30.0, 41.5, True), (41.5, 30.0, False), (None, 41.5, False)])
def test_a_stage_1_that_is_better_than_the_teacher_is_said(
    ann: float | None, qc: float, said: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_command, "held_out_ap", lambda path: ann if path.stem == "ann" else qc)
    found = joint_command.find_teacher(JointConfig(checkpoint=str(chain()["fine"])))
    assert found == chain()["ann"]
    text = f"Stage I is 11.5 points of AP50:95 better than {found}"
    assert (text in caplog.text and f"--teacher {chain()['qc']} imitates Stage I" in caplog.text) == said


def test_held_out_ap_is_what_training_measured(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["ann"])
    path = save_checkpoint(
        tmp_path / "ann.safetensors", tensors, dataclasses.replace(meta, notes={"held_out": {"AP": 12.5}})
    )
    assert (joint_command.held_out_ap(path), joint_command.held_out_ap(chain()["ann"])) == (12.5, None)

"""Stage II from checkpoint to checkpoint."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calibration_graphs import batches, branching, sample_images, settings, visits
from tiny_detector import IMAGE_SIZE, T, chain, fingerprint, same

from spikedet.calibration import calibrate_network, layerwise
from spikedet.calibration.coarse import layer_outputs
from spikedet.calibration.finished import calibration_key
from spikedet.calibration.observer import Observer
from spikedet.calibration.report import LayerReport
from spikedet.calibration.store import ByteStore
from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.commands.calibrate import calibrate
from spikedet.commands.convert import convert
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import CalibrateConfig, ConvertConfig
from spikedet.conversion import load_spiking
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.snn import Readout, SpikingConv

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {"images": 6, "epochs": 1, "batch": 4, "lr": 1e-3, "crop": 3}


def run(out: Path, checkpoint: Path | None = None, **changes: Any) -> list[Path]:
    config = CalibrateConfig(checkpoint=str(checkpoint or chain()["copied"]), out=str(out), **{**SHORT, **changes})
    return calibrate(config)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the coarse and the fine network; not to be changed."""
    out = tmp_path_factory.mktemp("calibrated")
    run(out)
    return out


# --- files ----------------------------------------------------------------------------------------------------------


def test_both_networks_are_written_beside_each_other_and_nothing_read_changes(tmp_path: Path, calibrated: Path) -> None:
    before = fingerprint(chain().folder), fingerprint(chain().images)
    assert run(tmp_path, seed=1) == [tmp_path / "coarse.safetensors", tmp_path / "fine.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coarse.safetensors", "fine.safetensors"]
    assert (fingerprint(chain().folder), fingerprint(chain().images)) == before
    for stage in ("coarse", "fine"):  # another seed, another network
        found, other = (load_checkpoint(out / f"{stage}.safetensors")[0] for out in (tmp_path, calibrated))
        assert not same(found, other)


def test_coarse_alone(tmp_path: Path) -> None:
    assert run(tmp_path, fine=False) == [tmp_path / "coarse.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["coarse.safetensors"]


def test_the_checkpoints_folder_is_the_output_unless_given(tmp_path: Path) -> None:
    source = tmp_path / "copied.safetensors"
    source.write_bytes(chain()["copied"].read_bytes())
    calibrate(CalibrateConfig(checkpoint=str(source), **SHORT, fine=False))
    assert (tmp_path / "coarse.safetensors").is_file()


def test_metadata_tells_where_a_network_came_from(calibrated: Path) -> None:
    source = read_meta(chain()["copied"])
    for stage in ("coarse", "fine"):
        meta = read_meta(calibrated / f"{stage}.safetensors")
        assert meta.stage == stage
        assert meta.parent == {
            "file": str(chain()["copied"]),
            "sha256": file_sha256(chain()["copied"]),
            "stage": "copied",
        }
        assert (meta.T, meta.neuron, meta.delay, meta.finetuned) == (T, "if", 0, True)
        assert (meta.architecture, meta.class_names, meta.data) == (
            source.architecture,
            source.class_names,
            source.data,
        )
        assert meta.config["convert"] == source.config["convert"]
        assert meta.config["calibrate"]["images"] == 6
        network, _ = load_spiking(calibrated / f"{stage}.safetensors")
        assert network.T == T


def test_notes_tell_what_was_done_to_each_layer(calibrated: Path) -> None:
    network, _ = load_spiking(chain()["copied"])
    names = [node.name for node in network.nodes if isinstance(node.module, (SpikingConv, Readout))]
    coarse, fine = (read_meta(calibrated / f"{stage}.safetensors").notes["layers"] for stage in ("coarse", "fine"))
    assert [layer["layer"] for layer in coarse] == [layer["layer"] for layer in fine] == names
    assert all(layer["fine_before"] is layer["fine_after"] is None and layer["epochs"] == 0 for layer in coarse)
    assert all(layer["fine_after"] <= layer["fine_before"] and layer["epochs"] == 1 for layer in fine)
    assert coarse[0]["coarse_before"] == 0
    assert coarse[1]["coarse_before"] > 0


def test_the_same_calibration_writes_the_same_file(tmp_path: Path) -> None:
    (first,) = map(file_sha256, run(tmp_path, fine=False))
    assert [file_sha256(path) for path in run(tmp_path, fine=False)] == [first]


def test_the_seed_is_in_the_metadata(tmp_path: Path) -> None:
    assert read_meta(run(tmp_path, fine=False, seed=5)[0]).seed == 5


def test_a_penalty_without_fine_calibration_is_refused() -> None:
    with pytest.raises(ConfigError, match="--sparsity has no effect without --fine"):
        CalibrateConfig(checkpoint="copied.safetensors", fine=False, sparsity=1.0)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_a_calibrated_network_is_refused(tmp_path: Path, stage: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{stage}.safetensors: already calibrated \({stage}\)"):
        run(tmp_path, chain()[stage])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["ann", "qc"])
def test_a_network_without_spikes_is_refused(tmp_path: Path, stage: str) -> None:
    with pytest.raises(CheckpointError, match=f"not a converted network .stage {stage}.; run spikedet convert first"):
        run(tmp_path, chain()[stage])


def test_initial_potentials_per_neuron_are_refused(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["copied"])
    tensors["model.0.u0"] = tensors["model.0.u0"].view(-1, 1, 1).expand(-1, 32, 32)
    source = save_checkpoint(tmp_path / "copied.safetensors", tensors, meta)
    with pytest.raises(
        CheckpointError, match=r"model\.0 has an initial potential per neuron; expected one per channel"
    ):
        run(tmp_path, source)


def test_more_levels_than_a_byte_holds_are_refused(tmp_path: Path) -> None:
    (long,) = convert(ConvertConfig(checkpoint=str(chain()["qc"]), T=256, out=str(tmp_path)))
    with pytest.raises(ConfigError, match="works for T up to 255, this network has T = 256"):
        run(tmp_path, long)


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'trainval'; available: test, train, val"):
        run(tmp_path, split="trainval")


# --- what it does ---------------------------------------------------------------------------------------------------


def test_disk_and_memory_give_the_same_bits(tmp_path: Path, calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = set()
    create = ByteStore.create

    def watched(store: ByteStore, name: str, shape: Any) -> Any:
        made = create(store, name, shape)
        kinds.add(type(made))
        return made

    monkeypatch.setattr(ByteStore, "create", watched)
    run(tmp_path, memory_budget_gb=1e-9)
    assert kinds == {np.memmap}
    for stage in ("coarse", "fine"):
        file = f"{stage}.safetensors"
        assert same(load_checkpoint(tmp_path / file)[0], load_checkpoint(calibrated / file)[0])


@pytest.mark.parametrize("fine", [False, True])
def test_the_size_of_a_simulated_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch, fine: bool) -> None:
    torch.manual_seed(0)
    network, images = branching(), sample_images(6)
    made = []
    for size in (6, 2):
        monkeypatch.setattr(layerwise, "probe_batch", lambda *_, size=size: size)
        made.append(calibrate_network(network, images, settings(), fine=fine)[0].state_dict())
    assert same(*made)


def test_the_network_given_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    network = branching()
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    made, _ = calibrate_network(network, sample_images(), settings(lr=0.01), fine=True)
    assert same(dict(network.state_dict()), kept)
    assert not same(dict(made.state_dict()), kept)


def test_every_layer_is_right_on_average_given_the_layers_before_it(calibrated: Path) -> None:
    """Coarse: the output layers' mean errors vanish, and spiking layers' weights stay those that were copied."""
    copied, meta = load_spiking(chain()["copied"])
    coarse, _ = load_spiking(calibrated / "coarse.safetensors")
    drawn = load_dataset(meta.data["data"], "train", class_names=meta.class_names).draw(6, 0)
    images = to_input([drawn.read_image(i) for i in range(6)], IMAGE_SIZE)
    everything = list(range(6))
    observer = Observer(copied, coarse, images, ByteStore(2**30))
    for node in coarse.nodes:
        if isinstance(node.module, SpikingConv):
            observer.observe(node, [everything])
            observer.record(node, [everything])
        elif isinstance(node.module, Readout):
            error = (observer.target(node, everything) - layer_outputs(observer, node, everything)[0]).mean((0, 2, 3))
            assert error.abs().max() < 1e-5
    before, after = dict(copied.state_dict()), dict(coarse.state_dict())
    readouts = {name.replace(".", "/") + "/bias" for name in copied.box_readouts + copied.class_readouts}
    for name, value in before.items():
        changes = name.endswith("u0") or name.replace(".", "/") in readouts
        assert changes or torch.equal(value, after[name]), name


@pytest.mark.parametrize("image", [False, True], ids=["on bits", "on dense trains"])
def test_an_analog_current_is_left_as_it_is(image: bool) -> None:
    torch.manual_seed(0)
    network = branching("mixed", image=image)
    made, reports = calibrate_network(network, sample_images(), settings(lr=0.01), fine=True)
    assert [report.layer for report in reports if report.layer in ("skip", "current")] == ["skip"]
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, made.state_dict()[name])}
    assert {"skip.u0", "skip.weight"} <= changed
    assert not changed & {"current.weight", "current.bias"}
    assert all(parameter.grad is None for parameter in made.nodes[6].module.parameters())


def test_early_rates_move_potentials_and_biases_alone() -> None:
    torch.manual_seed(0)
    network, images = branching(), sample_images(10)
    plain, traded = (calibrate_network(network, images, settings(early=w), fine=False)[0] for w in (0.0, 0.5))
    before, after = network.state_dict(), traded.state_dict()
    moved = {name.rpartition(".")[2] for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"u0", "bias"}
    assert not same(dict(plain.state_dict()), dict(after))


@pytest.mark.parametrize("neuron", ["if", "signed", "mixed"])
def test_the_errors_reported_are_against_the_network_given(neuron: str) -> None:
    """Layer by layer, on the held-out fifth, fed by the calibrated layers before it."""
    torch.manual_seed(0)
    network, images = branching(neuron), sample_images(10)
    made, reports = calibrate_network(network, images, settings(epochs=4, lr=0.02, crop=8), fine=True)
    observer = Observer(network, made, images, ByteStore(2**30))
    found = {}
    for node in visits(observer, batches(10)):
        error = layer_outputs(observer, node, [8, 9])[0] - observer.target(node, [8, 9])
        found[node.name] = float(error.square().mean())
    assert found == {report.layer: pytest.approx(report.fine_after) for report in reports}
    assert any(report.fine_after < report.fine_before for report in reports)  # type: ignore[operator]


def test_both_precisions_write_finite_float32(tmp_path: Path, calibrated: Path) -> None:
    for path, precision in ((calibrated / "fine.safetensors", "fp32"), (run(tmp_path, precision="bf16")[1], "bf16")):
        tensors, meta = load_checkpoint(path)
        assert meta.config["calibrate"]["precision"] == precision
        assert {value.dtype for name, value in tensors.items() if value.is_floating_point()} == {torch.float32}


def test_signed_delayed_networks_and_single_images(tmp_path: Path) -> None:
    (copied,) = convert(ConvertConfig(checkpoint=str(chain()["qc"]), neuron="signed", delay=1, out=str(tmp_path)))
    written = run(tmp_path, copied, images=1)
    assert [read_meta(path).neuron for path in written] == ["signed", "signed"]
    assert [read_meta(path).delay for path in written] == [1, 1]


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (
            LayerReport("model.0", 0.5, None, None, 0),
            "model.0            MSE 5.000e-01 as copied  (0 epochs)",
        ),
        (
            LayerReport("model.0", 0.5, 0.25, 0.125, 3),
            "model.0            MSE 5.000e-01 as copied; "
            "held out 2.500e-01 after coarse -> 1.250e-01 after fine  (3 epochs)",
        ),
    ],
)
def test_a_report_is_one_line(report: LayerReport, text: str) -> None:
    assert str(report) == text
    assert dataclasses.asdict(report)["layer"] == "model.0"


# --- interruptions --------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [0, 9])
def test_an_interrupted_calibration_goes_on_at_its_layer(
    tmp_path: Path, calibrated: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """What it writes is the same, bit by bit, and no finished layer is calibrated again."""
    whole = [load_checkpoint(calibrated / f"{stage}.safetensors")[0] for stage in ("coarse", "fine")]
    visited: list[str] = []
    plain = layerwise.fine_calibrate_

    def until(limit: int) -> None:
        def counted(observer: Any, node: Any, *rest: Any) -> Any:
            if len(visited) == limit:
                raise Killed
            result = plain(observer, node, *rest)
            visited.append(node.name)
            return result

        monkeypatch.setattr(layerwise, "fine_calibrate_", counted)

    until(after)
    with pytest.raises(Killed):
        run(tmp_path / "cut")
    until(1000)
    resumed = [load_checkpoint(path)[0] for path in run(tmp_path / "cut", resume=True)]
    assert all(same(a, b) for a, b in zip(whole, resumed, strict=True))
    network, _ = load_spiking(chain()["copied"])
    layers = [node.name for node in network.nodes if isinstance(node.module, (SpikingConv, Readout))]
    assert visited == layers
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["coarse.safetensors", "fine.safetensors"]


def test_what_is_done_is_not_done_again(calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(calibrated)
    monkeypatch.setattr("spikedet.commands.calibrate.calibrate_network", None)
    assert run(calibrated, resume=True) == [calibrated / "coarse.safetensors", calibrated / "fine.safetensors"]
    assert fingerprint(calibrated) == before


def test_networks_of_another_calibration_are_not_taken(tmp_path: Path, calibrated: Path) -> None:
    shutil.copytree(calibrated, tmp_path / "a")
    resumed = run(tmp_path / "a", resume=True, images=5, fine=False)[-1]
    fresh = run(tmp_path / "b", images=5, fine=False)[-1]
    assert same(load_checkpoint(resumed)[0], load_checkpoint(fresh)[0])


def test_the_key_changes_with_every_setting_that_changes_the_result() -> None:
    images = load_dataset(chain().images, "train")
    changes: list[dict[str, Any]] = [{"seed": 1}, {"images": 5}, {"epochs": 2}, {"train_weights": False}]
    configs = [CalibrateConfig(checkpoint="a", **{**SHORT, **change}) for change in ({}, *changes)]
    assert len({calibration_key("sha", config, images) for config in configs}) == len(configs)
    moved = dataclasses.replace(configs[0], checkpoint="b", out="c", resume=True, memory_budget_gb=1.0)
    assert calibration_key("sha", moved, images) == calibration_key("sha", configs[0], images)
    assert calibration_key("sha", moved, images.subset([0])) != calibration_key("sha", configs[0], images)


def test_a_state_of_another_calibration_is_refused_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def interrupted(*arguments: Any) -> Any:
        done.append(len(done))
        if len(done) == 3:
            raise KeyboardInterrupt
        return calibrate_one(*arguments)

    calibrate_one = layerwise.fine_calibrate_
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(layerwise, "fine_calibrate_", interrupted)
        run(tmp_path)
    before = fingerprint(tmp_path)
    with pytest.raises(CheckpointError, match=r"fine-state\.safetensors: the state of a calibration .* other settings"):
        run(tmp_path, resume=True, images=5)
    assert "fine-state.safetensors" in before and fingerprint(tmp_path) == before


@pytest.mark.parametrize("content", [b"no state", None])
def test_a_state_that_is_not_whole_is_none(tmp_path: Path, calibrated: Path, content: bytes | None) -> None:
    state = tmp_path / "fine-state.safetensors"
    state.write_bytes((calibrated / "fine.safetensors").read_bytes() if content is None else content)
    assert same(load_checkpoint(run(tmp_path, resume=True)[-1])[0], load_checkpoint(calibrated / "fine.safetensors")[0])
    assert not state.exists()

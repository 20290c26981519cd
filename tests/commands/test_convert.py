"""One command from a source or QC checkpoint to spiking networks: which stages run, on what, and what they write."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import IMAGE_SIZE, T, chain, fingerprint, same, sample_images

from spikedet.calibration import layerwise
from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.commands import convert
from spikedet.commands.evaluate import made_by
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import CalibrateConfig, ConvertConfig, FinetuneConfig
from spikedet.conversion import load_spiking, to_spiking
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.models import fitted_levels, load_ann, set_largest_thetas_, set_mean_square_best_thetas_
from spikedet.snn import SpikingNetwork

pytestmark = pytest.mark.slow


def config(out: Path, source: str = "ann", **changes: Any) -> ConvertConfig:
    given = {"T": 3, "out": str(out)}
    given |= {"images": 4, "epochs": 1} if changes.get("calibrate") else {}
    given |= {"finetune_epochs": 1} if changes.get("finetune") else {}
    return ConvertConfig(checkpoint=str(chain()[source]), **{**given, **changes})


def parent_stage(path: Path) -> str | None:
    parent = read_meta(path).parent
    return parent["stage"] if parent else None


@pytest.mark.parametrize(
    ("source", "tuned", "calibrated"),
    [("ann", False, False), ("ann", True, True), ("qc", False, True), ("qc", True, False)],
)
def test_the_stages_asked_for_are_written_in_order(tmp_path: Path, source: str, tuned: bool, calibrated: bool) -> None:
    written = convert.convert(config(tmp_path, source, finetune=tuned, calibrate=calibrated))
    stages = ["qc"] * tuned + ["copied"] + ["coarse", "fine"] * calibrated
    assert written == [tmp_path / f"{stage}.safetensors" for stage in stages]
    networks = [path for path in tmp_path.glob("*.safetensors") if not path.stem.endswith("-state")]
    assert sorted(networks) == sorted(written)
    metas = [read_meta(path) for path in written]
    assert [meta.stage for meta in metas] == stages
    assert {meta.T for meta in metas} == {3}
    assert {meta.finetuned for meta in metas} == {tuned or source == "qc"}
    parents = {"qc": source, "copied": "qc" if tuned else source, "coarse": "copied", "fine": "copied"}
    assert [parent_stage(path) for path in written] == [parents[stage] for stage in stages]


@pytest.mark.parametrize(("calibrated", "start"), [(True, "fine"), (False, "copied")])
def test_joint_calibration_comes_last(tmp_path: Path, calibrated: bool, start: str) -> None:
    written = convert.convert(config(tmp_path, "qc", calibrate=calibrated, joint=True, joint_epochs=1))
    assert written[-1] == tmp_path / "joint.safetensors" and written[-2].stem == start
    meta = read_meta(written[-1])
    assert (meta.stage, parent_stage(written[-1]), meta.config["joint"]["epochs"]) == ("joint", start, 1)


def test_resuming_goes_on_where_the_calibration_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network it calibrates is written first; anew, it would not be the one whose layers are done."""
    asked = {"calibrate": True, "joint": True, "joint_epochs": 1}
    whole = convert.convert(config(tmp_path / "cut", "qc", **asked))
    (tmp_path / "cut").rename(tmp_path / "whole")
    done: list[str] = []
    calibrated = layerwise.fine_calibrate_

    def stopped(observer: Any, node: Any, *others: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(node.name)
        return calibrated(observer, node, *others)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(layerwise, "fine_calibrate_", stopped)
        convert.convert(config(tmp_path / "cut", "qc", **asked))
    copied = file_sha256(tmp_path / "cut" / "copied.safetensors")
    again: list[str] = []
    monkeypatch.setattr(
        layerwise,
        "fine_calibrate_",
        lambda o, node, *others: [again.append(node.name), calibrated(o, node, *others)][1],
    )
    written = convert.convert(config(tmp_path / "cut", "qc", resume=True, **asked))
    assert done and again and not set(done) & set(again)
    assert file_sha256(tmp_path / "cut" / "copied.safetensors") == copied
    assert written == whole
    for path in written:
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()  # its metadata too
    before = [file_sha256(path) for path in written]
    convert.convert(config(tmp_path / "cut", "qc", resume=True, **asked))
    assert [file_sha256(path) for path in written] == before


@pytest.mark.parametrize(
    ("name", "stage"),
    [("finetune_epochs", "finetune"), ("images", "calibrate"), ("epochs", "calibrate"), ("joint_epochs", "joint")],
)
def test_settings_of_a_stage_that_does_not_run_are_refused(tmp_path: Path, name: str, stage: str) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} has no effect without --{stage}"):
        config(tmp_path, **{name: 3})
    assert getattr(config(tmp_path, **{stage: True, name: 3}), name) == 3


def test_an_activation_is_for_the_dry_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--activation has no effect without --dry-run$"):
        config(tmp_path, activation="leaky")
    with pytest.raises(ConfigError, match=r"ann\.safetensors: --activation is for a model YAML or a \.pt file"):
        convert.convert(config(tmp_path, activation="leaky", dry_run=True))


def test_resuming_with_another_T_converts_anew(tmp_path: Path) -> None:
    convert.convert(config(tmp_path, "qc"))
    (copied,) = convert.convert(config(tmp_path, "qc", T=5, resume=True))
    assert read_meta(copied).T == 5


def test_a_network_that_is_replaced_is_named_with_its_later_stages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings(**changes: Any) -> list[str]:
        caplog.clear()
        convert.convert(config(tmp_path, "qc", **changes))
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    copied = tmp_path / "copied.safetensors"
    assert warnings() == warnings() == warnings(resume=True) == []
    assert warnings(delay=1) == [f"{copied}: another network was here and is replaced"]
    for stage in ("coarse", "fine"):
        shutil.copy(chain()[stage], tmp_path)
    stale = "coarse.safetensors, fine.safetensors beside it came from the earlier one"
    assert warnings() == [f"{copied}: another network was here and is replaced; {stale}"]


def test_the_network_is_the_conversion_of_the_checkpoint(tmp_path: Path) -> None:
    (copied,) = convert.convert(config(tmp_path, "qc", T=None))
    model, _ = load_ann(chain()["qc"])
    assert same(load_checkpoint(copied)[0], to_spiking(model, T).tensors())
    meta = read_meta(copied)
    assert meta.parent == {"file": str(chain()["qc"]), "sha256": file_sha256(chain()["qc"]), "stage": "qc"}
    assert (meta.T, meta.neuron, meta.delay, meta.notes) == (T, "if", 0, {})
    assert meta.config["convert"]["neuron"] == "if"


@pytest.mark.parametrize(
    ("neuron", "delay", "calibrated"), [("if", 2, False), ("signed", 0, False), ("if", 0, True), ("signed", 2, True)]
)
def test_neuron_and_delay_reach_every_layer(tmp_path: Path, neuron: Any, delay: int, calibrated: bool) -> None:
    for path in convert.convert(config(tmp_path, "qc", neuron=neuron, delay=delay, calibrate=calibrated)):
        network, meta = load_spiking(path)
        assert (meta.neuron, meta.delay) == (neuron, delay)
        assert {(layer.neuron, layer.delay) for _, layer in network.spiking()} == {(neuron, delay)}


def test_the_latency_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied,) = convert.convert(config(tmp_path, "qc", delay=1))
    network, _ = load_spiking(copied)
    printed = capsys.readouterr().out
    assert f"neuron if, delay 1, T = 3, latency L = {network.latency(3)} steps" in printed
    assert network.latency(3) > 3


@pytest.mark.parametrize("source", ["ann", "qc"])
def test_stage_1_gets_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    asked: list[FinetuneConfig] = []

    def finetune(stage1: FinetuneConfig) -> Path:
        asked.append(stage1)
        return chain()["qc"]

    monkeypatch.setattr(convert, "finetune", finetune)
    convert.convert(
        config(tmp_path, source, finetune=True, T=T, theta_images=5, finetune_epochs=7, seed=3, split="val")
    )
    assert asked == [
        FinetuneConfig(
            checkpoint=str(chain()[source]), split="val", T=T, theta_images=5, epochs=7, seed=3, out=str(tmp_path)
        )
    ]


def test_stage_2_gets_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[CalibrateConfig] = []
    monkeypatch.setattr(convert, "calibrate", lambda stage2: asked.append(stage2) or [])
    convert.convert(
        config(tmp_path, calibrate=True, images=9, epochs=2, seed=3, split="val", data=str(sample_images()))
    )
    copied = str(tmp_path / "copied.safetensors")
    assert asked == [
        CalibrateConfig(
            checkpoint=copied, data=str(sample_images()), split="val", images=9, epochs=2, seed=3, out=str(tmp_path)
        )
    ]


# --- T --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tuned", [False, True])
def test_a_source_needs_a_number_of_steps(tmp_path: Path, tuned: bool) -> None:
    with pytest.raises(ConfigError, match=r"ann.safetensors is a source ANN: say for how many .* for example --T 8"):
        convert.convert(config(tmp_path, T=None, finetune=tuned))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "expected"), [(None, T), (2, 2), (7, 7)])
def test_a_qc_network_has_one_of_its_own(tmp_path: Path, given: int | None, expected: int) -> None:
    (copied,) = convert.convert(config(tmp_path, "qc", T=given))
    assert expected == load_spiking(copied)[0].T


def test_a_qc_network_that_is_tuned_again_keeps_its_T(tmp_path: Path) -> None:
    tuned, _ = convert.convert(config(tmp_path, "qc", T=None, finetune=True))
    assert read_meta(tuned).T == T


# --- thresholds -----------------------------------------------------------------------------------------------------


def thetas(network: SpikingNetwork) -> torch.Tensor:
    return torch.cat([layer.theta for _, layer in network.spiking()])


def test_a_sources_thresholds_become_mean_square_best(tmp_path: Path) -> None:
    (copied,) = convert.convert(config(tmp_path, theta_images=5, seed=1))
    model, meta = load_ann(chain()["ann"])
    drawn = load_dataset(sample_images(), "train", class_names=meta.class_names).draw(5, 1)
    set_mean_square_best_thetas_(model, drawn, IMAGE_SIZE, fitted_levels(3))
    assert torch.equal(thetas(load_spiking(copied)[0]), thetas(to_spiking(model, 3)))


@pytest.mark.parametrize(("source", "theta_images"), [("ann", 0), ("qc", 32)])
def test_thresholds_that_stay(tmp_path: Path, source: str, theta_images: int) -> None:
    (copied,) = convert.convert(config(tmp_path, source, theta_images=theta_images))
    model, _ = load_ann(chain()[source])
    assert torch.equal(thetas(load_spiking(copied)[0]), thetas(to_spiking(model, 3)))


def test_the_baseline_has_channel_norm_thresholds_and_starts_at_zero(tmp_path: Path) -> None:
    (copied,) = convert.convert(config(tmp_path, method="channel-norm", theta_images=5, seed=1))
    model, meta = load_ann(chain()["ann"])
    drawn = load_dataset(sample_images(), "train", class_names=meta.class_names).draw(5, 1)
    set_largest_thetas_(model, drawn, IMAGE_SIZE)
    network, meta = load_spiking(copied)
    assert torch.equal(thetas(network), thetas(to_spiking(model, 3)))
    assert all(not layer.u0.any() for _, layer in network.spiking())
    assert meta.config["convert"]["method"] == "channel-norm"


@pytest.mark.parametrize("stage", ["finetune", "calibrate"])
def test_the_baseline_has_no_stages(tmp_path: Path, stage: str) -> None:
    with pytest.raises(ConfigError, match="channel-norm is the baseline without Stage I and II"):
        convert.convert(config(tmp_path, method="channel-norm", **{stage: True}))


# --- data and files -------------------------------------------------------------------------------------------------


def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Data and split of every dataset that a stage loads from now on."""
    seen: list[tuple[str, str]] = []

    def load(data: Any, split: str, *others: Any, **named: Any) -> Any:
        seen.append((str(data), split))
        return load_dataset(data, split, *others, **named)

    monkeypatch.setattr("spikedet.data.sources.load_dataset", load)
    return seen


def test_images_come_from_where_the_checkpoint_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = loaded(monkeypatch)
    convert.convert(config(tmp_path, calibrate=True))
    assert seen == [(str(sample_images()), "train")] * 2


def test_images_come_from_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    shutil.copytree(sample_images(), other)
    seen = loaded(monkeypatch)
    convert.convert(config(tmp_path, data=str(other), split="val", finetune=True, calibrate=True))
    assert seen == [(str(other), "val")] * 2


def test_a_qc_network_needs_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = loaded(monkeypatch)
    convert.convert(config(tmp_path, "qc", data="nowhere"))
    assert seen == []


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^nowhere: no such dataset"):
        convert.convert(config(tmp_path, data="nowhere"))


def test_the_checkpoints_folder_is_the_output_unless_given(tmp_path: Path) -> None:
    shutil.copy(chain()["qc"], tmp_path / "qc.safetensors")
    written = convert.convert(ConvertConfig(checkpoint=str(tmp_path / "qc.safetensors")))
    assert written == [tmp_path / "copied.safetensors"]


def test_nothing_that_is_read_changes(tmp_path: Path) -> None:
    before = fingerprint(chain().folder), fingerprint(sample_images())
    convert.convert(config(tmp_path, calibrate=True))
    assert (fingerprint(chain().folder), fingerprint(sample_images())) == before


@pytest.mark.parametrize("stage", ["copied", "fine"])
def test_a_spiking_network_is_refused(tmp_path: Path, stage: str) -> None:
    with pytest.raises(CheckpointError, match=rf"a converted network \(stage {stage}\); expected a source ANN or"):
        convert.convert(config(tmp_path, stage))


def test_the_parent_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(chain().folder)
    (copied,) = convert.convert(ConvertConfig(checkpoint="qc.safetensors", out=str(tmp_path)))
    parent = read_meta(copied).parent
    assert parent is not None
    assert Path(parent["file"]).is_absolute()


def test_a_latency_is_spent_on_the_layers_that_it_helps(tmp_path: Path) -> None:
    (path,) = convert.convert(config(tmp_path, "qc", latency=5))
    network, meta = load_spiking(path)
    delays = [layer.delay for _, layer in network.spiking()]
    assert 3 < network.latency(3) <= 5 and sum(delays) > 0 and meta.delay == 0
    assert made_by(meta, meta.stage, "")["latency"] == 5
    assert made_by(read_meta(chain()["fine"]), "fine", "")["latency"] is None


def test_layers_that_wait_are_chosen_on_images_that_no_training_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Stage II."""
    tensors, meta = load_checkpoint(chain()["qc"])
    held_out = {"held_out": 0.25, "seed": 3}
    source = save_checkpoint(tmp_path / "qc.safetensors", tensors, replace(meta, data={**meta.data, **held_out}))
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(convert, "spend_latency_", lambda network, pixels, latency: seen.append(pixels) or {})
    convert.convert(ConvertConfig(checkpoint=str(source), T=3, latency=5, theta_images=2, seed=1))
    dataset = load_dataset(sample_images(), "train", class_names=meta.class_names)
    drawn, unseen = dataset.draw(2, 1), dataset.draw(2, 1, (0.25, 3))
    assert {sample.image_id for sample in drawn.samples} != {sample.image_id for sample in unseen.samples}
    assert torch.equal(seen[0], to_input([unseen.read_image(i) for i in range(2)], IMAGE_SIZE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency": 3}, "must be above the 3 steps that the network takes"),
        ({"latency": 9, "theta_images": 0}, "needs training images"),
    ],
)
def test_latencies_that_cannot_be_spent(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert.convert(config(tmp_path, "qc", **changes))


@pytest.mark.parametrize(("changes", "warned"), [({}, True), ({"neuron": "signed"}, False), ({"delay": T}, False)])
def test_plain_neurons_behind_many_layers_are_warned_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    warned: bool,
) -> None:
    (path,) = convert.convert(ConvertConfig(checkpoint=str(chain()["qc"]), out=str(tmp_path / "shallow"), **changes))
    assert "one behind the other" not in caplog.text
    depth = load_spiking(path)[0].depth
    monkeypatch.setattr(convert, "DEEP", depth - 1)
    convert.convert(ConvertConfig(checkpoint=str(chain()["qc"]), out=str(tmp_path / "deep"), **changes))
    assert (f"{depth} spiking layers lie one behind the other" in caplog.text) == warned

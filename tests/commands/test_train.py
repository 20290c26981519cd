"""Source training and Stage I: checkpoints, metadata, and the images they see."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from tiny_detector import ARCHITECTURE, IMAGE_SIZE, chain, fingerprint, same, sample_images, write_model_yaml

from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.commands.convert import convert
from spikedet.commands.finetune import finetune
from spikedet.commands.train import train
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import ConvertConfig, FinetuneConfig, LoopConfig, TrainConfig
from spikedet.conversion import load_spiking
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.synthetic.scenes import SYNTHETIC_CLASS_NAMES
from spikedet.models import ClipDetector, activations, fitted_levels, load_ann, set_mean_square_best_thetas_
from spikedet.quantization import ClippedReLU, QCActivation
from spikedet.training import run
from spikedet.training.loop import Save

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {"epochs": 1, "batch": 4, "warmup_epochs": 0, "held_out": 0.25}


def training(folder: Path, **changes: Any) -> TrainConfig:
    model = write_model_yaml(folder / "tiny.yaml")
    given = {"model": str(model), "data": str(sample_images()), "image_size": IMAGE_SIZE, "out": str(folder / "out")}
    return TrainConfig(**{**SHORT, **given, **changes})


def finetuning(out: Path, **changes: Any) -> FinetuneConfig:
    return FinetuneConfig(**{**SHORT, "checkpoint": str(chain()["ann"]), "T": 3, "out": str(out), **changes})


@dataclass
class Recorded:
    """Takes the place of ``TrainingLoop`` and only remembers what it was given."""

    model: ClipDetector
    train: DetectionDataset
    held_out: DetectionDataset
    config: LoopConfig
    size: int
    save: Save
    name: str
    made_for: dict[str, Any]
    made: ClassVar[list[Recorded]] = []

    def __post_init__(self) -> None:
        Recorded.made.append(self)

    def run(self) -> None:
        self.save(self.model, {"AP": 12.5})


def test_image_sizes_that_the_cells_do_not_divide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of the largest stride of tiny-yolo-csp-nano, 64 px, got 416"):
        train(training(tmp_path, model="tiny-yolo-csp-nano", image_size=416))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    """Loops that were made instead of run."""
    monkeypatch.setattr(run, "TrainingLoop", Recorded)
    monkeypatch.setattr(run, "plot_training", lambda *_: None)
    monkeypatch.setattr(Recorded, "made", [])
    return Recorded.made


def ids(dataset: DetectionDataset) -> set[str]:
    return {sample.image_id for sample in dataset.samples}


# --- the source -----------------------------------------------------------------------------------------------------


def test_a_source_checkpoint_says_what_it_is(tmp_path: Path, recorded: list[Recorded]) -> None:
    config = training(tmp_path, seed=3)
    path = train(config)
    meta = read_meta(path)
    assert path == tmp_path / "out" / "ann.safetensors"
    assert (meta.stage, meta.model, meta.finetuned, meta.T, meta.parent) == ("ann", "tiny", False, None, None)
    assert meta.architecture == ARCHITECTURE
    assert meta.class_names == tuple(sorted(SYNTHETIC_CLASS_NAMES))
    assert meta.image_size == recorded[0].size == IMAGE_SIZE
    assert meta.data == {"data": str(sample_images()), "split": "train", "held_out": 0.25, "seed": 3}
    assert meta.config == {"train": {**dataclasses.asdict(config), "weights": "none"}}  # nothing ships for this model
    assert meta.notes == {"held_out": {"AP": 12.5}}
    assert meta.seed == 3
    load_ann(path)


def test_the_data_is_found_from_any_folder(
    tmp_path: Path, recorded: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sample_images().parent)
    meta = read_meta(train(training(tmp_path, data=sample_images().name)))
    assert Path(meta.data["data"]) == sample_images().resolve()


def test_the_synthetic_set_stays_a_name(
    tmp_path: Path, recorded: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = "synthetic:train=4,val=1,test=1,size=64"
    assert read_meta(train(training(tmp_path, data=data))).data["data"] == data


def test_the_synthetic_set_stays_a_name_beside_a_folder_of_that_name(
    tmp_path: Path, recorded: list[Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spikedet.commands.train.load_dataset", lambda *_, **__: load_dataset(sample_images(), "train"))
    (tmp_path / "synthetic").mkdir()
    assert read_meta(train(training(tmp_path, data="synthetic"))).data["data"] == "synthetic"


def test_thresholds_begin_as_asked(tmp_path: Path, recorded: list[Recorded]) -> None:
    train(training(tmp_path, theta=2.5))
    first = next(activations(recorded[0].model))[1]
    assert first.theta.tolist() == pytest.approx([2.5] * 8)
    assert type(first) is ClippedReLU


def test_validation_images_are_a_seeded_part_of_the_training_split(tmp_path: Path, recorded: list[Recorded]) -> None:
    for seed in (0, 0, 1):
        train(training(tmp_path, seed=seed))
    everything = ids(load_dataset(sample_images(), "train"))
    for made in recorded:
        assert ids(made.train) | ids(made.held_out) == everything
        assert not ids(made.train) & ids(made.held_out)
        assert len(made.held_out) == 2
    first, second, third = (ids(made.held_out) for made in recorded)
    assert first == second != third


def test_a_seed_decides_the_first_weights(tmp_path: Path, recorded: list[Recorded]) -> None:
    for seed in (0, 0, 1):
        train(training(tmp_path, seed=seed))
    first, second, third = (dict(made.model.state_dict()) for made in recorded)
    assert same(first, second)
    assert not same(first, third)


def test_an_unknown_model_and_split_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model 'yolo' not found; expected one of .*tiny-yolo"):
        train(training(tmp_path, model="yolo"))
    with pytest.raises(DataError, match="no split 'trainval'; available: test, train, val"):
        train(training(tmp_path, split="trainval"))
    assert not (tmp_path / "out").exists()


# --- Stage I --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A QC checkpoint after one epoch; not to be changed."""
    return finetune(finetuning(tmp_path_factory.mktemp("tuned") / "out"))


def test_a_qc_checkpoint_says_what_it_is_and_where_it_came_from(tuned: Path) -> None:
    meta, source = read_meta(tuned), read_meta(chain()["ann"])
    assert tuned.name == "qc.safetensors"
    assert (meta.stage, meta.finetuned, meta.T, meta.neuron) == ("qc", True, 3, None)
    assert meta.parent == {"file": str(chain()["ann"]), "sha256": file_sha256(chain()["ann"]), "stage": "ann"}
    assert (meta.architecture, meta.class_names, meta.image_size, meta.data) == (
        source.architecture,
        source.class_names,
        source.image_size,
        {**source.data, "held_out": 0.25, "seed": 0},
    )
    assert meta.config["finetune"]["T"] == 3
    assert set(meta.notes["held_out"]) == {"AP", "AP50", "AP75"}


def test_it_is_the_clip_ann_with_other_weights(tuned: Path) -> None:
    model, _ = load_ann(tuned)
    assert {type(activation) for _, activation in activations(model)} == {ClippedReLU}
    tensors, source = load_checkpoint(tuned)[0], load_checkpoint(chain()["ann"])[0]
    assert tensors.keys() == source.keys()
    assert not same(tensors, source)


def test_the_source_is_left_as_it_is(tmp_path: Path) -> None:
    before = fingerprint(chain().folder)
    finetune(finetuning(tmp_path))
    assert fingerprint(chain().folder) == before


def test_training_sees_quantization_and_its_noise(tmp_path: Path, recorded: list[Recorded]) -> None:
    finetune(finetuning(tmp_path, noise=0.25))
    found = [activation for _, activation in activations(recorded[0].model)]
    assert {type(activation) for activation in found} == {QCActivation}
    assert {(activation.T, activation.noise) for activation in found if isinstance(activation, QCActivation)} == {
        (3, 0.25)
    }


def test_thresholds_begin_mean_square_best_on_training_images(tmp_path: Path, recorded: list[Recorded]) -> None:
    finetune(finetuning(tmp_path, theta_images=4, seed=2))
    expected, meta = load_ann(chain()["ann"])
    train_split = load_dataset(sample_images(), "train", class_names=meta.class_names)
    set_mean_square_best_thetas_(expected, train_split.draw(4, 2), IMAGE_SIZE, fitted_levels(3))
    for (_, mine), (_, theirs) in zip(activations(recorded[0].model), activations(expected), strict=True):
        assert torch.equal(mine.log_theta, theirs.log_theta)


def test_a_stage_1_that_goes_on_looks_for_no_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"theta_images": 4, "resume": True}
    whole = finetune(finetuning(tmp_path / "whole", epochs=2, **settings))
    finetune(finetuning(tmp_path / "cut", epochs=1, **settings))

    def search(*_: object) -> None:
        raise AssertionError("looked for thresholds")

    monkeypatch.setattr("spikedet.commands.finetune.set_mean_square_best_thetas_", search)
    resumed = finetune(finetuning(tmp_path / "cut", epochs=2, **settings))
    assert resumed == finetune(finetuning(tmp_path / "cut", epochs=2, **settings))  # nothing is left to do
    assert load_checkpoint(resumed)[0].keys() == load_checkpoint(whole)[0].keys()
    with pytest.raises(AssertionError, match="looked for thresholds"):
        finetune(finetuning(tmp_path / "new", **settings))


def test_thresholds_stay_without_images_for_them(tmp_path: Path, recorded: list[Recorded]) -> None:
    finetune(finetuning(tmp_path, theta_images=0))
    source, _ = load_ann(chain()["ann"])
    for (_, mine), (_, theirs) in zip(activations(recorded[0].model), activations(source), strict=True):
        assert torch.equal(mine.log_theta, theirs.log_theta)


def test_data_and_split_come_from_the_checkpoint_unless_given(tmp_path: Path, recorded: list[Recorded]) -> None:
    finetune(finetuning(tmp_path))
    other = finetune(finetuning(tmp_path, split="train+val"))
    trained_on = [ids(made.train) | ids(made.held_out) for made in recorded]
    assert (len(trained_on[0]), len(trained_on[1])) == (8, 12)
    assert read_meta(other).data == {"data": str(sample_images()), "split": "train+val", "held_out": 0.25, "seed": 0}


def test_stage_1_validates_on_images_that_training_held_out(tmp_path: Path, recorded: list[Recorded]) -> None:
    source = train(training(tmp_path, seed=3))
    meta = read_meta(finetune(finetuning(tmp_path, checkpoint=str(source), seed=5, held_out=0.1)))
    finetune(finetuning(tmp_path, checkpoint=str(source), seed=5, split="train+val"))
    first, second, third = (ids(made.held_out) for made in recorded)
    assert (len(first), len(second), len(third)) == (2, 1, 3)
    assert second < first and not third <= first
    assert (meta.data["held_out"], meta.data["seed"]) == (0.1, 3)


def test_training_from_weights_validates_on_images_that_they_have_not_seen(
    tmp_path: Path, recorded: list[Recorded]
) -> None:
    start = str(train(training(tmp_path, seed=3)))
    again = read_meta(train(training(tmp_path, seed=5, weights=start, out=str(tmp_path / "again"))))
    train(training(tmp_path, seed=5, weights=start, out=str(tmp_path / "other"), split="train+val"))
    first, second, third = (ids(made.held_out) for made in recorded)
    assert second == first and not third <= first
    assert (again.data["seed"], again.seed) == (3, 5)


def test_an_earlier_stage_1_checkpoint_can_be_tuned_again(tmp_path: Path, tuned: Path) -> None:
    meta = read_meta(finetune(finetuning(tmp_path, checkpoint=str(tuned), T=5)))
    assert (meta.stage, meta.T, meta.parent["stage"] if meta.parent else "") == ("qc", 5, "qc")
    assert (meta.config["finetune_before"]["T"], meta.config["finetune"]["T"]) == (3, 5)


@pytest.mark.parametrize("stage", ["copied", "fine"])
def test_a_spiking_network_is_refused(tmp_path: Path, stage: str) -> None:
    with pytest.raises(CheckpointError, match=rf"a converted network \(stage {stage}\)"):
        finetune(finetuning(tmp_path, checkpoint=str(chain()[stage])))


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_every_precision_trains(tmp_path: Path, precision: Any) -> None:
    tensors, meta = load_checkpoint(finetune(finetuning(tmp_path, precision=precision)))
    assert meta.config["finetune"]["precision"] == precision
    assert all(math.isfinite(float(value.sum())) for value in tensors.values() if value.is_floating_point())


def test_stage_1_in_the_sources_folder_leaves_its_state_and_log(tmp_path: Path) -> None:
    source = train(training(tmp_path))
    out = tmp_path / "out"
    before = (out / "ann-state.safetensors").read_bytes(), (out / "ann-log.csv").read_bytes()
    finetune(finetuning(out, checkpoint=str(source)))
    assert ((out / "ann-state.safetensors").read_bytes(), (out / "ann-log.csv").read_bytes()) == before


def test_average_pools_before_stage_1(tmp_path: Path, recorded: list[Recorded]) -> None:
    """The same weights and thresholds, another architecture, which the checkpoint then names."""
    rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.MaxPool2d", [2, 2]], [-1, 1, "Conv", [8, 3, 2]]]
    architecture = {**ARCHITECTURE, "backbone": rows, "head": [[[-1], 1, "Detect", ["nc"]]]}
    (tmp_path / "pooled.yaml").write_text(yaml.safe_dump(architecture))
    source = train(training(tmp_path, model=str(tmp_path / "pooled.yaml")))
    path = finetune(finetuning(tmp_path / "qc", checkpoint=str(source), pool="average", theta_images=0))
    assert [row[2] for row in read_meta(path).architecture["backbone"]] == ["Conv", "nn.AvgPool2d", "Conv"]
    tuned, _ = load_ann(path)
    before, _ = load_ann(source)
    assert same(tuned.state_dict(), before.state_dict())
    kept = read_meta(finetune(finetuning(tmp_path / "kept", checkpoint=str(source), theta_images=0)))
    assert kept.architecture["backbone"][1][2] == "nn.MaxPool2d"


def test_copies_of_the_first_layer_are_trained_resumed_and_converted(tmp_path: Path, recorded: list[Recorded]) -> None:
    source = train(training(tmp_path))
    settings = finetuning(tmp_path / "qc", checkpoint=str(source), copies=2)
    path = finetune(settings)
    wider = read_meta(path)
    assert wider.architecture["backbone"][0][3][0] == 2 * read_meta(source).architecture["backbone"][0][3][0]
    before = path.read_bytes()
    assert finetune(dataclasses.replace(settings, resume=True)).read_bytes() == before
    (copied,) = convert(ConvertConfig(checkpoint=str(path)))
    network, _ = load_spiking(copied)
    first = next(network.spiking())[1]
    assert len(first.bias) == wider.architecture["backbone"][0][3][0]


def test_a_start_from_a_checkpoint_keeps_what_it_says(tmp_path: Path, recorded: list[Recorded]) -> None:
    """The settings of its own training, and whose weights it was trained from."""
    first = train(training(tmp_path, lr=0.5))
    tensors, meta = load_checkpoint(first)
    start = save_checkpoint(tmp_path / "s.safetensors", tensors, dataclasses.replace(meta, credits=("a notice",)))
    again = read_meta(train(training(tmp_path, weights=str(start), out=str(tmp_path / "again"))))
    assert again.credits == ("a notice",)
    assert again.config["train_before"]["lr"] == 0.5 and again.config["train"]["weights"] == str(start)

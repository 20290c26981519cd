"""The training loop: resuming, thresholds, labels, what is written where, and losses that are no longer finite."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_detector import IMAGE_SIZE, detector, fingerprint, same, sample_images, write_model_yaml
from torch import Tensor

from spikedet.checkpoint import load_checkpoint, read_meta
from spikedet.checkpoint.state import load_state, save_state
from spikedet.commands.train import train
from spikedet.common.errors import CheckpointError, TrainingError
from spikedet.common.precision import multiplies_bfloat16
from spikedet.config import TrainConfig
from spikedet.data import DetectionDataset, load_dataset
from spikedet.evaluation.predict import predict_dataset
from spikedet.models import ClipDetector, activations, load_ann
from spikedet.training.loop import TrainingLoop, average_decay
from spikedet.training.resuming import forget_epochs, load_progress

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered_plots")]

SHORT: dict[str, Any] = {
    "image_size": IMAGE_SIZE,
    "epochs": 2,
    "batch": 4,
    "warmup_epochs": 0,
    "held_out": 0.25,
    "close_mosaic": 1,
}


def config(folder: Path, **changes: Any) -> TrainConfig:
    """Settings of a run into ``folder/out``; the model's YAML lies in ``folder``."""
    model = write_model_yaml(folder / "tiny.yaml")
    return TrainConfig(
        **{**SHORT, "model": str(model), "data": str(sample_images()), "out": str(folder / "out"), **changes}
    )


def loop(folder: Path, **changes: Any) -> TrainingLoop:
    """A loop that has not begun."""
    dataset = load_dataset(sample_images(), "train")
    rest, held_out = dataset.hold_out(0.25, 0)
    return TrainingLoop(detector(), rest, held_out, config(folder, **changes), IMAGE_SIZE, lambda *_: None, "ann")


def epochs_logged(out: Path) -> list[int]:
    with open(out / "ann-log.csv", newline="", encoding="utf-8") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def epochs_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every epoch that is finished from now on, counted from 1."""
    done: list[int] = []
    save_metrics = TrainingLoop.save_metrics

    def noted(self: TrainingLoop, metrics: dict[str, float]) -> None:
        done.append(self.epoch + 1)
        save_metrics(self, metrics)

    monkeypatch.setattr(TrainingLoop, "save_metrics", noted)
    return done


def interrupt_after(epoch: int, patch: pytest.MonkeyPatch, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Stop the run within the epoch after this one."""
    preprocess = TrainingLoop.preprocess_batch

    def interrupted(self: TrainingLoop, batch: dict[str, Any]) -> dict[str, Any]:
        if self.epoch >= epoch:
            raise error
        return preprocess(self, batch)

    patch.setattr(TrainingLoop, "preprocess_batch", interrupted)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of two epochs; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    train(config(folder))
    return folder / "out"


@cache
def _one_epoch() -> Path:
    folder = sample_images().parent / "one-epoch"
    folder.mkdir()
    train(config(folder, epochs=1))
    return folder / "out"


def begin(folder: Path) -> None:
    """What ``train(config(folder, epochs=1))`` leaves: trained once, then copied."""
    shutil.copytree(_one_epoch(), folder / "out")


# --- what is written ------------------------------------------------------------------------------------------------


def test_files_of_a_run(trained: Path) -> None:
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    events = {name for name in names if name.startswith("tensorboard/ann/events.out.tfevents")}
    assert len(events) == 1
    assert names - events - {"args.yaml"} == {
        "ann.safetensors",
        "ann-state.safetensors",
        "ann-log.csv",
        "ann-training.png",
    }


def test_nothing_is_pickled_and_nothing_cached(trained: Path) -> None:
    for folder in (trained, sample_images()):
        assert [path for path in folder.rglob("*") if path.suffix in (".pt", ".pth", ".pkl", ".cache", ".npy")] == []


def test_the_log_has_a_row_per_epoch(trained: Path) -> None:
    with open(trained / "ann-log.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    losses = {"train/box_loss", "train/cls_loss", "train/dfl_loss"}
    assert losses | {"held_out/AP", "held_out/AP50", "held_out/AP75"} <= rows[0].keys()
    assert all(float(row[name]) > 0 for row in rows for name in losses)


def test_the_curves_are_a_image(trained: Path) -> None:
    with Image.open(trained / "ann-training.png") as image:
        assert image.format == "PNG"


def test_tensorboard_has_what_the_log_has(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "tensorboard" / "ann")).Reload()
    assert {"train/box_loss", "held_out/AP", "lr/pg0"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/cls_loss")] == [1, 2]


def test_another_seed_gives_another_network_and_the_data_are_left_alone(tmp_path: Path) -> None:
    before = fingerprint(sample_images())
    other = load_checkpoint(train(config(tmp_path, epochs=1, seed=1)))[0]
    assert not same(load_checkpoint(_one_epoch() / "ann.safetensors")[0], other)
    assert fingerprint(sample_images()) == before


@pytest.mark.parametrize("held_out", ["no images", "no objects"])
def test_where_nothing_is_held_out_the_last_network_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], held_out: str
) -> None:
    """An AP of 0 would say that nothing was found; there is nothing to find."""
    hold_out = DetectionDataset.hold_out

    def without_objects(self: DetectionDataset, *drawn: Any) -> tuple[DetectionDataset, DetectionDataset]:
        rest, held = hold_out(self, *drawn)
        samples = tuple(replace(sample, difficult=np.ones_like(sample.difficult)) for sample in held.samples)
        return rest, replace(held, samples=samples)

    monkeypatch.setattr(DetectionDataset, "hold_out", without_objects)
    path = train(config(tmp_path, epochs=1, held_out=0.0 if held_out == "no images" else 0.25))
    last = load_state(tmp_path / "out" / "ann-state.safetensors")
    assert same(load_checkpoint(path)[0], last[0]["ema"])
    assert capsys.readouterr().out.count("held out: AP -  AP50 -  AP75 -") == 1
    assert last[2]["held_out"] == read_meta(path).notes["held_out"] == {}


def test_before_the_first_validation_nothing_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(config(tmp_path, validate_every=2))
    first, second = [line for line in capsys.readouterr().out.splitlines() if "held out: " in line]
    assert "AP -  AP50 -" in first and "AP -" not in second


@pytest.mark.parametrize("precision", ["auto", "bf16", "fp32"])
def test_the_forward_runs_in_the_precision_asked_for(tmp_path: Path, precision: str) -> None:
    assert loop(tmp_path, precision=precision).model.precision == precision


def test_the_precisions_differ(tmp_path: Path) -> None:
    """And the default is one of them: which, the processor decides."""
    ours = load_checkpoint(_one_epoch() / "ann.safetensors")[0]
    hardware = multiplies_bfloat16(torch.device("cpu"))
    for precision, default in (("fp32", not hardware), ("bf16", hardware)):
        made = load_checkpoint(train(config(tmp_path, epochs=1, precision=precision)))[0]
        assert same(made, ours) == default


def test_the_number_of_threads_stays(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    loop(tmp_path)
    assert torch.get_num_threads() == threads


def test_only_a_validated_network_can_be_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation after epochs 2 and 4, with a lower AP in epoch 4: epoch 2 is the best, epoch 3 was never evaluated."""
    fitness = {1: 50.0, 3: 10.0}
    validate, saved = TrainingLoop.validate, []

    def evaluated(self: TrainingLoop) -> tuple[dict[str, float], float]:
        values, carried = validate(self)
        found = fitness.get(self.epoch, carried)
        return {**values, "held_out/AP": found}, found

    monkeypatch.setattr(TrainingLoop, "validate", evaluated)
    made = loop(tmp_path, epochs=4, validate_every=2, held_out=0.25)
    made.save_best = lambda network, measures: saved.append(made.epoch + 1)
    made.run()
    assert saved[-1] == 2


def test_validation_comes_every_so_many_epochs_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = []

    def predict(forward: Any, dataset: DetectionDataset, *others: Any) -> Any:
        evaluated.append((made.epoch + 1, dataset.split))
        return predict_dataset(forward, dataset, *others)

    monkeypatch.setattr("spikedet.training.loop.predict_dataset", predict)
    made = loop(tmp_path, epochs=3, validate_every=2)
    made.run()
    assert evaluated == [(2, "train-held-out"), (3, "train-held-out")]


# --- the average of the weights ------------------------------------------------------------------------------------


def test_the_average_is_that_of_polynomial_decay() -> None:
    """Of weights 1, 2, 3, 4 after as many steps, from 0: 1 - decay is 10 / (step + 10)."""
    average = 0.0
    for step in (1, 2, 3, 4):
        average += (1 - average_decay(step)) * (step - average)
    first = 10 / 11
    second = first + 10 / 12 * (2 - first)
    third = second + 10 / 13 * (3 - second)
    assert average == pytest.approx(third + 10 / 14 * (4 - third))


@pytest.mark.parametrize("steps", [500, 5000])
def test_the_average_lags_by_an_eleventh_of_the_run(steps: int) -> None:
    average = 0.0
    for step in range(1, steps + 1):
        average += (1 - average_decay(step)) * (step - average)
    assert (steps - average) / steps == pytest.approx(1 / 11, rel=0.01)


def test_a_run_averages_so_also_after_it_was_resumed(tmp_path: Path) -> None:
    run = loop(tmp_path, epochs=1)
    run.run()
    again = loop(tmp_path, epochs=2, resume=True)
    again.run()
    assert [made.ema.decay(90) for made in (run, again)] == [0.9, 0.9]


# --- resuming -------------------------------------------------------------------------------------------------------


def test_a_finished_run_can_be_made_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    done = epochs_run(monkeypatch)
    train(config(tmp_path, epochs=2, resume=True))
    assert done == [2]
    assert epochs_logged(tmp_path / "out") == [1, 2]


def test_resuming_takes_up_weights_optimizer_and_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    modules, optimizer, facts = load_state(tmp_path / "out" / "ann-state.safetensors")
    resumed = {}
    resume = TrainingLoop.resume_training

    def noted(self: TrainingLoop, ckpt: Any) -> None:
        resume(self, ckpt)
        steps = {i: slot["exp_avg"].clone() for i, slot in self.optimizer.state_dict()["state"].items()}
        resumed.update(
            model={name: value.clone() for name, value in self.model.state_dict().items()},
            ema={name: value.clone() for name, value in self.ema.ema.state_dict().items()},
            steps=steps,
            updates=self.ema.updates,
            best=self.best_fitness,
        )

    monkeypatch.setattr(TrainingLoop, "resume_training", noted)
    train(config(tmp_path, epochs=2, resume=True))
    assert same(resumed["model"], modules["model"])
    assert same(resumed["ema"], modules["ema"])
    assert not same(modules["ema"], modules["model"])
    assert resumed["steps"].keys() == optimizer["state"].keys()
    assert all(torch.equal(value, optimizer["state"][i]["exp_avg"]) for i, value in resumed["steps"].items())
    assert (resumed["updates"], resumed["best"]) == (facts["updates"], facts["best_fitness"])
    assert facts["updates"] == 2  # 6 images in batches of 4


def test_resuming_where_nothing_was_begun_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = epochs_run(monkeypatch)
    train(config(tmp_path, epochs=1, resume=True))
    assert done == [1]


def test_without_resume_a_run_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path) -> None:
    shutil.copytree(trained, tmp_path / "out")
    done = epochs_run(monkeypatch)
    again = train(config(tmp_path))
    assert done == [1, 2]
    assert epochs_logged(tmp_path / "out") == [1, 2]
    assert same(load_checkpoint(again)[0], load_checkpoint(trained / "ann.safetensors")[0])


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``whole`` was ``out`` when it was made: a checkpoint says where it lies."""
    folder = tmp_path_factory.mktemp("three-epochs")
    train(config(folder, epochs=3))
    (folder / "out").rename(folder / "whole")
    return folder


@pytest.mark.parametrize("cut", [1, 2])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(three_epochs: Path, cut: int) -> None:
    """Bit by bit, with mosaic, albumentations and its closing; the state is that of a run stopped after ``cut``."""
    shutil.rmtree(three_epochs / "out", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, 1) if cut == 1 else interrupt_after(2, patch)
        with pytest.raises(TrainingError if cut == 1 else KeyboardInterrupt):
            train(config(three_epochs, epochs=3))
    whole = three_epochs / "whole" / "ann.safetensors"
    assert load_state(three_epochs / "out" / "ann-state.safetensors")[2]["epoch"] == cut - 1
    with pytest.MonkeyPatch.context() as patch:
        done = epochs_run(patch)
        resumed = train(config(three_epochs, epochs=3, resume=True))
    assert done == list(range(cut + 1, 4))
    assert resumed.read_bytes() == whole.read_bytes()  # its metadata too
    states = [load_state(path.with_name("ann-state.safetensors")) for path in (resumed, whole)]
    assert same(states[0][0]["model"], states[1][0]["model"])


def test_an_epoch_that_was_logged_but_not_saved_is_forgotten(tmp_path: Path) -> None:
    begin(tmp_path)
    log = tmp_path / "out" / "ann-log.csv"
    text = log.read_text()
    log.write_text(text + text.splitlines()[1].replace("1,", "2,", 1) + "\n")
    train(config(tmp_path, epochs=2, resume=True))
    assert epochs_logged(tmp_path / "out") == [1, 2]


@pytest.mark.parametrize(
    "facts",
    [
        3,
        {},
        {"epoch": "1"},
        {"epoch": 0, "updates": 1, "best_fitness": None, "stopper": 4},
        {"epoch": -1, "updates": 1, "best_fitness": None, "stopper": [0.0, 0]},
        {"epoch": 0, "updates": -1, "best_fitness": None, "stopper": [0.0, 0]},
        {"epoch": 0, "updates": 1, "best_fitness": [], "stopper": [0.0, 0]},
        {"epoch": 0, "updates": 1, "best_fitness": None, "stopper": [0.0, 0], "held_out": "x"},
        {"epoch": 0, "updates": 1, "best_fitness": None, "stopper": [0.0, 0], "held_out": {"AP": [1]}},
        {"epoch": 0, "updates": 1, "best_fitness": None, "stopper": [0.0, 0], "made_for": 1},
    ],
)
def test_a_state_with_damaged_facts_is_refused(tmp_path: Path, facts: Any) -> None:
    begin(tmp_path)
    state = tmp_path / "out" / "ann-state.safetensors"
    modules, optimizer, _ = load_state(state)
    save_state(state, modules, optimizer, facts)
    with pytest.raises(CheckpointError, match=r"ann-state\.safetensors: no training state .* train without --resume"):
        load_progress(state, {})


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    state = tmp_path / "out" / "ann-state.safetensors"
    modules, optimizer, facts = load_state(state)
    modules["model"].popitem()
    save_state(state, modules, optimizer, facts)
    with pytest.raises(CheckpointError, match="not a state of this training"):
        train(config(tmp_path, epochs=2, resume=True))


def test_measures_that_nobody_knows_are_not_gone_on_with(tmp_path: Path) -> None:
    """They would be columns that the log has no names for."""
    begin(tmp_path)
    state = tmp_path / "out" / "ann-state.safetensors"
    modules, optimizer, facts = load_state(state)
    save_state(state, modules, optimizer, {**facts, "held_out": {"held_out/AP": 1.0, "x": 2.0}})
    train(config(tmp_path, epochs=2, resume=True))
    lines = (tmp_path / "out" / "ann-log.csv").read_text().splitlines()
    assert len(lines) == 3 and len({line.count(",") for line in lines}) == 1


def test_a_damaged_state_of_the_optimizer_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    state = tmp_path / "out" / "ann-state.safetensors"
    modules, optimizer, facts = load_state(state)
    optimizer["state"][0]["step"].fill_(-2)
    save_state(state, modules, optimizer, facts)
    with pytest.raises(CheckpointError, match=r"ann-state\.safetensors: not a state of this training .* parameter 0"):
        train(config(tmp_path, epochs=2, resume=True))


def test_a_state_made_for_something_else_is_refused(tmp_path: Path) -> None:
    """Or the network of other settings, or of other images, would pass for the one that was asked for."""
    begin(tmp_path)
    with pytest.raises(CheckpointError, match=r"the state of another training \(mosaic: 1\.0 then, 0\.5 now\)"):
        train(config(tmp_path, epochs=2, mosaic=0.5, resume=True))
    with pytest.raises(CheckpointError, match=r"another training \(sha256 of the images and boxes: "):
        train(config(tmp_path, epochs=2, split="train+val", resume=True))


def test_a_model_counts_by_its_layers(tmp_path: Path) -> None:
    """Its file may move; one that was edited is another model."""
    begin(tmp_path)
    write_model_yaml(tmp_path / "tiny.yaml")
    model = tmp_path / "moved.yaml"
    model.write_text((tmp_path / "tiny.yaml").read_text())
    train(config(tmp_path, epochs=1, model=str(model), resume=True))
    model.write_text(model.read_text().replace("ReLU()", "LeakyReLU(0.1)"))
    with pytest.raises(CheckpointError, match=r"another training \(sha256 of the layers of the model: "):
        train(config(tmp_path, epochs=2, model=str(model), resume=True))


def test_a_state_that_does_not_say_what_it_was_made_for_is_taken(tmp_path: Path) -> None:
    begin(tmp_path)
    state = tmp_path / "out" / "ann-state.safetensors"
    modules, optimizer, facts = load_state(state)
    del facts["made_for"], facts["stopped_at_patience"]
    save_state(state, modules, optimizer, facts)
    train(config(tmp_path, epochs=2, resume=True))
    assert epochs_logged(tmp_path / "out") == [1, 2]


def test_a_run_that_patience_ended_is_finished_until_there_is_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(self: TrainingLoop) -> tuple[dict[str, float], float]:
        self.evaluated = True
        return {"held_out/AP": 1.0}, 50.0 - self.epoch

    monkeypatch.setattr(TrainingLoop, "validate", worse)
    done = epochs_run(monkeypatch)
    train(config(tmp_path, epochs=6, patience=2))
    train(config(tmp_path, epochs=6, patience=2, resume=True))
    assert done == [1, 2, 3]
    train(config(tmp_path, epochs=6, patience=3, resume=True))
    assert done == [1, 2, 3, 4]


def test_without_room_for_all_images_too_a_run_ends_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikedet.training.dataset.KEPT_BYTES", 0)
    train(config(tmp_path, epochs=3))
    (tmp_path / "out").rename(tmp_path / "whole")
    test_an_interrupted_run_ends_as_if_nothing_had_happened(tmp_path, 1)


@pytest.mark.parametrize("content", ["", "\n\n", "epoch,time\n", "epoch,time\n1,2.5\n\nrubbish\n"])
def test_a_log_of_no_epoch_that_counts_is_removed(tmp_path: Path, content: str) -> None:
    log = tmp_path / "ann-log.csv"
    log.write_text(content, encoding="utf-8")
    forget_epochs(log, 0)
    assert not log.exists()


def test_a_log_without_a_state_is_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "out" / "ann-log.csv"
    log.parent.mkdir()
    log.write_text("epoch,time\n1,2.5\n\nrubbish\n", encoding="utf-8")
    train(config(tmp_path, epochs=1, resume=True))
    assert epochs_logged(tmp_path / "out") == [1]


def test_every_batch_is_a_step_also_where_it_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    step = TrainingLoop.optimizer_step
    monkeypatch.setattr(TrainingLoop, "optimizer_step", lambda self: [steps.append(self.epoch), step(self)])
    train(config(tmp_path, epochs=2, batch=16))  # of 6 images
    assert steps == [0, 1]


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    begin(tmp_path)
    before = load_checkpoint(tmp_path / "out" / "ann.safetensors")[0]
    path = train(config(tmp_path, epochs=1, resume=True))
    assert same(load_checkpoint(path)[0], before)
    assert epochs_logged(tmp_path / "out") == [1]


# --- thresholds -----------------------------------------------------------------------------------------------------


def test_thresholds_have_a_rate_of_their_own_and_no_decay(tmp_path: Path) -> None:
    made = loop(tmp_path, theta_lr_factor=7.0)
    optimizer = made.build_optimizer(made.model, "AdamW", lr=0.01, momentum=0.9, decay=0.1)
    thetas = {id(a.log_theta) for _, a in activations(made.model)}
    groups = [group for group in optimizer.param_groups if {id(p) for p in group["params"]} & thetas]
    assert len(groups) == 1
    assert {id(p) for p in groups[0]["params"]} == thetas
    assert groups[0]["lr"] == pytest.approx(0.07)
    assert groups[0]["weight_decay"] == 0
    assert type(optimizer).__name__ == "AdamW"


def test_every_parameter_is_trained_once_and_only_weights_decay(tmp_path: Path) -> None:
    made = loop(tmp_path)
    optimizer = made.build_optimizer(made.model, "AdamW", lr=0.01, momentum=0.9, decay=0.1)
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(trained) == len(set(trained))
    assert set(trained) == {id(p) for p in made.model.parameters()}
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(m.weight) for m in made.model.modules() if isinstance(m, torch.nn.Conv2d)}


def test_the_rates_in_a_run(trained: Path) -> None:
    groups = {g["param_group"]: g for g in load_state(trained / "ann-state.safetensors")[1]["param_groups"]}
    assert groups["theta"]["initial_lr"] == pytest.approx(10 * groups["weight"]["initial_lr"])
    assert groups["theta"]["lr"] == pytest.approx(10 * groups["weight"]["lr"])
    assert (groups["theta"]["weight_decay"], groups["weight"]["weight_decay"]) == (0, 5e-4)


def test_thresholds_move(trained: Path) -> None:
    model, _ = load_ann(trained / "ann.safetensors")
    moved = [(activation.theta - 4).abs().max().item() for _, activation in activations(model)]
    assert max(moved) > 1e-3
    still = load_state(trained / "ann-state.safetensors")[0]["model"]
    assert any((value.exp() - 4).abs().max() > 1e-2 for name, value in still.items() if name.endswith("log_theta"))


def test_thresholds_stay_at_a_rate_of_zero(tmp_path: Path) -> None:
    model, _ = load_ann(train(config(tmp_path, epochs=1, theta_lr_factor=0.0)))
    for _, activation in activations(model):
        torch.testing.assert_close(activation.theta, torch.full_like(activation.theta, 4.0))


# --- data -----------------------------------------------------------------------------------------------------------


def test_difficult_objects_are_not_among_the_labels(tmp_path: Path) -> None:
    made = loop(tmp_path)
    samples = made.sources["train"].samples
    for sample in samples:
        sample.difficult[:1] = True
    labels = made.build_dataset("train").labels
    kept = [int((~sample.difficult).sum()) for sample in samples]
    assert [len(label["cls"]) for label in labels] == kept
    assert 0 < sum(kept) <= sum(len(sample.labels) for sample in samples) - 4


def test_images_of_the_two_parts_stay_apart(tmp_path: Path) -> None:
    made = loop(tmp_path)
    files = [set(made.build_dataset(part).im_files) for part in ("train", "val")]
    assert (len(files[0]), len(files[1])) == (6, 2)
    assert not files[0] & files[1]


# --- losses that are not finite -------------------------------------------------------------------------------------


def poison(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """From this epoch (counted from 0) on, the input is not a number."""
    preprocess = TrainingLoop.preprocess_batch

    def poisoned(self: TrainingLoop, batch: dict[str, Any]) -> dict[str, Any]:
        made = preprocess(self, batch)
        if self.epoch >= epoch:
            made["img"] = made["img"] * float("nan")
        return made

    monkeypatch.setattr(TrainingLoop, "preprocess_batch", poisoned)


def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_good_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, 1)
    out = tmp_path / "out"
    with pytest.raises(TrainingError, match=f"epoch 2: the loss is no longer finite; .* is {out}/ann.safetensors"):
        train(config(tmp_path, epochs=3))
    load_ann(out / "ann.safetensors")
    assert read_meta(out / "ann.safetensors").stage == "ann"
    modules, _, facts = load_state(out / "ann-state.safetensors")
    assert facts["epoch"] == 0
    assert all(torch.isfinite(v).all() for part in modules.values() for v in part.values() if v.is_floating_point())


def test_a_loss_that_explodes_ends_the_run_and_so_does_it_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    state = tmp_path / "out" / "ann-state.safetensors"
    facts = load_state(state)[2]
    assert 1 < facts["lowest_loss"] < 1000
    monkeypatch.setattr("spikedet.training.loop.EXPLODED", 1e-3)
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"epoch 2: the loss has exploded, to .* from .*; .* is .*/ann\.safe"):
            train(config(tmp_path, epochs=2, resume=True))
    assert load_state(state)[2] == facts


def test_from_the_first_epoch_on_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 0)
    with pytest.raises(TrainingError, match="epoch 1: the loss is no longer finite; nothing was saved yet"):
        train(config(tmp_path))
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_an_average_that_is_not_finite_is_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of the last epoch may spoil weights whose loss was still finite."""

    def spoil(self: TrainingLoop) -> bool:
        value: Tensor = next(iter(self.ema.ema.parameters())).data
        value.fill_(float("nan"))
        return True

    monkeypatch.setattr(TrainingLoop, "save_model", spoil)
    with pytest.raises(TrainingError, match="the averaged network is no longer finite; try a lower --lr"):
        train(config(tmp_path, epochs=1))


def test_the_loop_trains_the_model_it_is_given(tmp_path: Path) -> None:
    made = loop(tmp_path, epochs=1)
    assert isinstance(made.model, ClipDetector)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.run()
    assert not same(before, dict(made.model.state_dict()))

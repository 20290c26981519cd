"""Training over real time steps: one loop for every method, checked on the SFA network."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_detector import IMAGE_SIZE, chain, detector, same, sample_images, write_model_yaml

from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.checkpoint.state import load_state
from spikedet.checkpoint.tensors import open_tensors
from spikedet.commands.evaluate import made_by
from spikedet.commands.finetune import finetune
from spikedet.commands.train import train
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.config import FinetuneConfig, TrainConfig
from spikedet.data import load_dataset
from spikedet.models import (
    activations,
    as_qc,
    build_detector,
    load_ann,
    load_model_yaml,
    over_time,
    set_mean_square_best_thetas_,
)
from spikedet.models.methods import unclip_linear_
from spikedet.quantization import ClippedReLU, IntegerActivation
from spikedet.training.loop import TrainingLoop
from spikedet.training.run import method_facts

pytestmark = pytest.mark.usefixtures("unrendered_plots")

SHORT: dict[str, Any] = {"epochs": 2, "batch": 4, "warmup_epochs": 0, "held_out": 0.25, "mosaic": 0.0}


def integer(T: int, D: int = 4, beta: float = 0.25) -> Any:
    return over_time(detector(), T, lambda old: IntegerActivation.from_clip(old, D=D, beta=beta))


def images(count: int = 2) -> torch.Tensor:
    torch.manual_seed(5)
    return torch.rand(count, 3, IMAGE_SIZE, IMAGE_SIZE)


class Counter(ClippedReLU):
    """Adds to its input how often it was called since the last reset."""

    calls = 0

    def reset(self) -> None:
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x) + self.calls - 1


def test_raw_outputs_are_averaged_over_the_steps() -> None:
    model = over_time(detector(), 3, lambda old: Counter(old.log_theta.numel())).eval()
    decoded, maps = model(images())
    single = copy.deepcopy(model)
    single.steps = 0
    passes = [single(images())[1] for _ in range(3)]  # its activations go on counting
    for name in ("boxes", "scores"):
        assert torch.equal(maps[name], torch.stack([one[name] for one in passes]).mean(0))
    assert torch.equal(decoded[:, 4:], maps["scores"].sigmoid())
    assert {activation.calls for activation in model.modules() if isinstance(activation, Counter)} == {0}


def test_one_step_without_memory_is_the_network_without_time() -> None:
    clip = detector().eval()
    once = over_time(clip, 1, ClippedReLU.from_clip).eval()
    assert torch.equal(once(images())[0], clip(images())[0])
    clip.train(), once.train()
    assert torch.equal(once(images())["scores"], clip(images())["scores"])


def test_a_batch_knows_nothing_of_the_one_before() -> None:
    model = integer(T=3).eval()
    with torch.no_grad():
        first = model(images())[0]
        model(images(5))  # of another size
        assert torch.equal(model(images())[0], first)
    copy.deepcopy(model)


def test_at_one_step_the_sfa_network_is_a_qc_ann() -> None:
    clip = detector()
    assert torch.equal(integer(T=1, D=4).eval()(images())[0], as_qc(clip, 4).eval()(images())[0])


def test_the_gradient_goes_through_all_steps() -> None:
    model = integer(T=2).train()
    maps = model(images())
    (maps["scores"].square().mean() + maps["boxes"].square().mean()).backward()
    assert all(
        p.grad is not None and bool(p.grad.isfinite().all()) for n, p in model.named_parameters() if "log_theta" in n
    )


def test_steps_that_are_no_whole_groups_are_refused(tmp_path: Path) -> None:
    tensors, meta = load_checkpoint(chain()["ann"])
    path = save_checkpoint(
        tmp_path / "sfa.safetensors", tensors, sfa := meta.child(chain()["ann"], stage="sfa", method="sfa", T=4, D=2)
    )
    for T, D in ((4, 3), (None, 2), (4, None)):
        with pytest.raises(ValueError, match="sub-steps in groups of D"):
            dataclasses.replace(sfa, T=T, D=D)
    with open_tensors(path) as file:
        facts = json.loads(file.metadata()["spikedet"])
    save_file(tensors, path, {"spikedet": json.dumps({**facts, "D": 3})})
    with pytest.raises(CheckpointError, match=r"its metadata is not valid.*groups of D"):
        read_meta(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"T": 4}, "--T has no effect without --method sfa or clif"),
        ({"D": 8}, "--D has no effect without --method sfa"),
        ({"beta": 0.5, "method": "clif"}, "beta has no effect without --method sfa"),
        ({"method": "SFA"}, "--method must be one of"),
        ({"method": "sfa", "D": 0}, "--D must be between 1"),
        ({"copies": 2}, "copies has no effect without --method sfa; an ANN gets them by spikedet finetune"),
        ({"copies": 2, "method": "clif"}, "copies has no effect with --method clif"),
        ({"method": "sfa", "D": 1001}, "--D must be between 1 and 1000"),
        ({"method": "sfa", "T": 100, "D": 400}, "at most 32767 sub-steps, got 100 x 400"),
        ({"method": "sfa", "beta": 1.5}, "beta must be between 0 and 1"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_settings_of_stage_one_do_not_go_with_sfa() -> None:
    with pytest.raises(ConfigError, match="--sparsity has no effect without --method conversion"):
        FinetuneConfig(checkpoint="a", method="sfa", sparsity=1.0)
    assert [FinetuneConfig(checkpoint="a", method=m).time_steps for m in ("conversion", "sfa", "clif")] == [8, 1, 4]


# --- whole trainings ------------------------------------------------------------------------------------------------


def settings(folder: Path, **changes: Any) -> TrainConfig:
    folder.mkdir(exist_ok=True)
    given = {"data": str(sample_images()), "image_size": IMAGE_SIZE, "out": str(folder / "out"), "method": "sfa"}
    model = write_model_yaml(folder / "tiny.yaml")
    return TrainConfig(**{**SHORT, **given, "model": str(model), "T": 2, "D": 3, **changes})


@pytest.mark.slow
def test_sfa_is_trained_and_resumed_with_the_same_bytes(tmp_path: Path) -> None:
    whole = train(settings(tmp_path / "a"))
    assert whole.name == "sfa.safetensors"
    tensors, meta = load_checkpoint(whole)
    assert (meta.stage, meta.method, meta.T, meta.D, meta.beta, meta.real_steps) == ("sfa", "sfa", 6, 3, 0.25, 2)
    assert (meta.finetuned, meta.config["train"]["method"]) == (False, "sfa")
    save = TrainingLoop.save_model

    def interrupted(loop: TrainingLoop) -> bool:
        save(loop)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLoop, "save_model", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings(tmp_path / "b"))
    resumed = train(settings(tmp_path / "b", resume=True))
    assert same(load_checkpoint(resumed)[0], tensors)
    states = [load_state(path.with_name("sfa-state.safetensors"))[0]["model"] for path in (whole, resumed)]
    assert same(*states)


@pytest.mark.slow
def test_training_from_weights_begins_at_the_best_thresholds_for_its_levels(tmp_path: Path) -> None:
    """A rate of zero keeps them: each is the mean-square-best of its channel, below the clip's."""
    start = {"weights": str(chain()["ann"]), "epochs": 1, "theta_lr_factor": 0.0, "T": 1, "D": 2}
    clips = {name: value for name, value in load_checkpoint(chain()["ann"])[0].items() if "log_theta" in name}
    fitted = load_checkpoint(train(settings(tmp_path / "a", **start)))[0]
    kept = load_checkpoint(train(settings(tmp_path / "b", **start, theta_levels=0)))[0]
    assert all(torch.allclose(kept[name], value) for name, value in clips.items())
    assert all(bool((fitted[name] <= value + 1e-5).all()) for name, value in clips.items())
    assert any(bool((fitted[name] < value - 0.1).any()) for name, value in clips.items())


@pytest.mark.slow
def test_integer_training_gives_the_first_layer_copies(tmp_path: Path) -> None:
    made = train(settings(tmp_path, T=1, D=2, copies=2, epochs=1))
    plain = load_model_yaml(settings(tmp_path).model)["backbone"][0][3][0]
    meta = read_meta(made)
    assert meta.architecture["backbone"][0][3][0] == 2 * plain
    assert made_by(meta, meta.stage, "")["stage1_options"] == "from scratch, 2 copies"
    again = dataclasses.replace(meta, config={**meta.config, "sfa": {"copies": 2}})  # fine-tuned after that
    assert made_by(again, again.stage, "")["stage1_options"] == "fine-tuned, 4 copies"


@pytest.mark.slow
def test_sfa_starts_from_stage_1_and_stage_1_from_sfa(tmp_path: Path) -> None:
    source, out = chain()["qc"], tmp_path / "sfa"
    start = {**SHORT, "epochs": 1, "checkpoint": str(source), "out": str(out), "copies": 2}
    made = finetune(FinetuneConfig(**start, method="sfa", D=2, worth="theta/D"))
    with pytest.raises(ConfigError, match="--copies has no effect with --method clif"):
        FinetuneConfig(**start, method="clif")
    meta, channels = read_meta(made), read_meta(source).architecture["backbone"][0][3][0]
    assert meta.architecture["backbone"][0][3][0] == 2 * channels
    assert made_by(meta, meta.stage, "")["stage1_options"] == "fine-tuned, 2 copies"
    assert made == out / "sfa.safetensors"
    assert (meta.stage, meta.method, meta.T, meta.D, meta.real_steps) == ("sfa", "sfa", 2, 2, 1)
    assert meta.parent and meta.parent["stage"] == "qc"
    assert "T" in meta.config["sfa"]
    back = finetune(FinetuneConfig(**{**SHORT, "epochs": 1}, checkpoint=str(made), T=4, out=str(tmp_path / "back")))
    meta = read_meta(back)
    assert (meta.stage, meta.method, meta.T, meta.D, meta.beta) == ("qc", "conversion", 4, None, None)
    assert {activation.worth for path in (made, back) for _, activation in activations(load_ann(path)[0])} == {0.5}
    with pytest.raises(ConfigError, match="worth theta, those of this network theta / D"):
        finetune(FinetuneConfig(**{**SHORT, "epochs": 1}, checkpoint=str(made), method="clif", out=str(tmp_path / "c")))


def test_convolutions_without_activation_have_neither_clip_nor_levels() -> None:
    """And thresholds that are set leave theirs alone, for exports with a range."""
    model = unclip_linear_(build_detector(load_model_yaml("tiny-yolo-csp-nano"), ("cell", "dot"), theta=3.0))
    linear = {name: a for name, a in activations(model) if a.slope == 1}
    assert len(linear) == 3
    for activation in linear.values():
        x = 100 * torch.randn(1, activation.log_theta.numel(), 4, 4)
        assert torch.equal(activation(x), x)
    before = {name: a.theta.clone() for name, a in activations(model)}
    set_mean_square_best_thetas_(model, load_dataset("synthetic:train=2,size=64", "train"), 64, 6)
    kept = {name for name, a in activations(model) if torch.equal(a.theta, before[name])}
    assert kept == set(linear)
    assert method_facts(FinetuneConfig(checkpoint="", T=4))["linear"] == "analog"

"""C-LIF networks from the ANN to detections: start, training, resuming, conversion, and what does not apply to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import IMAGE_SIZE, chain, detector, same, sample_images, write_model_yaml

from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.commands.calibrate import calibrate
from spikedet.commands.convert import convert
from spikedet.commands.energy import energy
from spikedet.commands.evaluate import evaluate
from spikedet.commands.explain import explain
from spikedet.commands.finetune import finetune
from spikedet.commands.joint import joint
from spikedet.commands.train import train
from spikedet.common.errors import CheckpointError, ConfigError, ConversionError
from spikedet.config import (
    CalibrateConfig,
    ConvertConfig,
    EnergyConfig,
    EvaluateConfig,
    ExplainConfig,
    FinetuneConfig,
    JointConfig,
    SimulationConfig,
    TrainConfig,
)
from spikedet.conversion import load_spiking, to_spiking
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.inference.comparison import load_family
from spikedet.inference.network import load_network
from spikedet.models import activations, load_ann, over_time
from spikedet.models.leaky_start import fit_leaky_
from spikedet.snn import CurrentLIF
from spikedet.snn.operations import LinearConv

pytestmark = pytest.mark.usefixtures("unrendered_plots")

SHORT: dict[str, Any] = {"epochs": 2, "batch": 4, "warmup_epochs": 0.0, "held_out": 0.25, "mosaic": 0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "clif", "skip_backward": 4}, "--skip-backward must be below T = 4, got 4"),
        ({"method": "clif", "skip_backward": 1, "learning": "bptt"}, "--skip-backward has no effect with learning"),
        ({"skip_backward": 1}, "--skip-backward has no effect without --method clif"),
        ({"method": "sfa", "reset": "soft"}, "reset has no effect without --method clif"),
        ({"method": "clif", "surrogate": "square"}, "surrogate must be one of"),
        ({"method": "clif", "width": 0.0}, "width must be positive"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


@pytest.mark.slow
@torch.no_grad()
def test_the_start_is_nearer_to_the_ann_than_its_thetas_are() -> None:
    ann = detector().eval()
    held_out = load_dataset(str(sample_images()), "val")
    images = to_input([held_out.read_image(i) for i in range(len(held_out))], IMAGE_SIZE)
    expected, made = ann(images)[1]["scores"], []
    for fit in (False, True):
        model = over_time(ann, 4, CurrentLIF.from_clip).eval()
        if fit:
            fit_leaky_(model, ann, load_dataset(str(sample_images()), "train").for_training(), IMAGE_SIZE)
        made.append((model(images)[1]["scores"] - expected).square().mean().item())
    assert made[1] < 0.8 * made[0]


def test_conversion_keeps_neurons_and_refuses_others() -> None:
    model = over_time(detector(), 4, lambda old: CurrentLIF.from_clip(old, reset_rule="soft"))
    kinds = {(layer.neuron, layer.decays, layer.reset) for _, layer in to_spiking(model, 4).spiking()}
    assert kinds == {("clif", (0.5, 0.75), "soft")}
    for how in ({"neuron": "signed"}, {"delay": 1}):
        with pytest.raises(ConversionError, match="drop --neuron and --delay"):
            to_spiking(model, 4, **how)  # type: ignore[arg-type]
    with pytest.raises(ConversionError, match=r"model\.0 was not trained with C-LIF neurons"):
        to_spiking(detector(), 4, neuron="clif")
    for _, neurons in activations(model):
        neurons.slope = 1.0
    assert any(isinstance(node.module, LinearConv) for node in to_spiking(model, 4).nodes)


# --- whole trainings ------------------------------------------------------------------------------------------------


def settings(folder: Path, **changes: Any) -> FinetuneConfig:
    given = {"checkpoint": str(chain()["ann"]), "out": str(folder), "method": "clif", "T": 3, "skip_backward": 1}
    return FinetuneConfig(**{**SHORT, **given, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(settings(tmp_path_factory.mktemp("clif"), train_decays=True, freeze_out="cubic"))


@pytest.mark.slow
def test_a_checkpoint_knows_its_method(trained: Path) -> None:
    tensors, meta = load_checkpoint(trained)
    assert (trained.name, meta.stage, meta.method, meta.T, meta.reset) == (
        "clif.safetensors",
        "clif",
        "clif",
        3,
        "hard",
    )
    assert any(bool((v != torch.tensor([0.5, 0.75]).logit()).any()) for k, v in tensors.items() if "decays" in k)
    model, _ = load_ann(trained)
    assert same(model.state_dict(), tensors)


@pytest.mark.slow
def test_resumed_it_has_the_same_bytes(tmp_path: Path) -> None:
    whole = finetune(settings(tmp_path / "a", T=2))
    finetune(settings(tmp_path / "b", T=2, epochs=1))
    resumed = finetune(settings(tmp_path / "b", T=2, resume=True))
    aps = [read_meta(path).notes["held_out"]["AP"] for path in (whole, resumed)]
    assert aps[0] == aps[1]
    assert same(*(load_checkpoint(path)[0] for path in (whole, resumed)))


@pytest.mark.slow
def test_the_simulator_repeats_the_trained_network(trained: Path, tmp_path: Path) -> None:
    (path,) = convert(ConvertConfig(checkpoint=str(trained), out=str(tmp_path)))
    network, meta = load_spiking(path)
    assert (network.neuron, meta.neuron, meta.T, meta.max_pool) == ("clif", "clif", 3, "or")
    torch.manual_seed(0)
    images = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    expected = load_network(trained)(images)[0].decoded
    for backend in ("torch", "native"):
        found = load_network(path, SimulationConfig(backend=backend))(images, t=[1, 2, 3])  # type: ignore[arg-type]
        torch.testing.assert_close(found[3].decoded, expected, rtol=1e-4, atol=1e-3)
        assert not torch.allclose(found[1].decoded, expected, atol=1e-3)


@pytest.mark.slow
def test_it_is_evaluated_at_every_step_and_priced(trained: Path, tmp_path: Path) -> None:
    (path,) = convert(ConvertConfig(checkpoint=str(trained), out=str(tmp_path)))
    rows = evaluate(
        EvaluateConfig(checkpoints=(str(path),), data=str(sample_images()), split="val", t="1,2,3", out=str(tmp_path))
    )
    spiking = [row for row in rows if row.neuron == "clif"]
    assert sorted(row.t or 0 for row in spiking) == [1, 2, 3]
    assert {row.stage for row in rows if row.neuron is None} == {"ann", "clif"}
    spiking.sort(key=lambda row: row.t or 0)
    counted = [row.spikes_per_image for row in spiking]
    assert all(value is not None for value in counted)
    assert counted == sorted(counted)  # type: ignore[type-var]
    report = energy(
        EnergyConfig(checkpoints=(str(path),), data=str(sample_images()), split="val", out=str(tmp_path / "energy"))
    )
    (cost,) = report.networks
    neurons, image = (sum(getattr(layer, name) for layer in cost.layers) for name in ("neurons", "image_macs"))
    assert {row.macs for row in report.rows if row.spent} == {image + 3 * 2 * neurons}  # two decays in every step


@pytest.mark.slow
@pytest.mark.parametrize("finetuned", [False, True])
def test_it_is_shown_between_its_ann_and_its_spikes(trained: Path, tmp_path: Path, finetuned: bool) -> None:
    """Also where the weights that it began with had been through Stage I."""
    tensors, meta = load_checkpoint(trained)
    source = save_checkpoint(tmp_path / "clif.safetensors", tensors, dataclasses.replace(meta, finetuned=finetuned))
    (path,) = convert(ConvertConfig(checkpoint=str(source)))
    stages = [member.detector.meta.stage for member in load_family([str(path)], SimulationConfig())]
    assert stages == ["ann", "clif", "copied"]


@pytest.mark.slow
def test_what_explains_conversion_is_refused(trained: Path, tmp_path: Path) -> None:
    (path,) = convert(ConvertConfig(checkpoint=str(trained), out=str(tmp_path)))
    message = "C-LIF neurons do not repeat the activations of an ANN"
    for command in (
        lambda: calibrate(CalibrateConfig(checkpoint=str(path))),
        lambda: joint(JointConfig(checkpoint=str(path))),
        lambda: explain(ExplainConfig(checkpoint=str(path))),
    ):
        with pytest.raises(CheckpointError, match=message):
            command()
    with pytest.raises(ConfigError, match="weights of C-LIF neurons are not those of an ANN; give --method clif"):
        finetune(FinetuneConfig(checkpoint=str(trained), T=4))
    with pytest.raises(ConfigError, match="was trained as it spikes; drop --calibrate and --joint"):
        convert(ConvertConfig(checkpoint=str(trained), calibrate=True, joint=True, out=str(tmp_path)))
    with pytest.raises(ConfigError, match="--latency has no effect on a network that was trained by clif"):
        convert(ConvertConfig(checkpoint=str(trained), latency=60, out=str(tmp_path)))
    with pytest.raises(ConfigError, match="its neurons have a hard reset; give reset: hard"):
        finetune(settings(tmp_path, checkpoint=str(trained), reset="soft"))
    given = {"data": str(sample_images()), "weights": str(trained), "image_size": IMAGE_SIZE}
    with pytest.raises(ConfigError, match="continue with spikedet finetune --method clif"):
        train(TrainConfig(**given, model=str(write_model_yaml(tmp_path / "tiny.yaml")), out=str(tmp_path)))


@pytest.mark.slow
def test_from_scratch_and_through_time(tmp_path: Path) -> None:
    config = TrainConfig(
        **{"data": str(sample_images()), "image_size": IMAGE_SIZE, "out": str(tmp_path / "out"), "T": 2, "lr": 1e-3},
        **{"model": str(write_model_yaml(tmp_path / "tiny.yaml")), "method": "clif", "learning": "bptt"},
        **{**SHORT, "epochs": 1},
    )
    path = train(config)
    assert path.name == "clif.safetensors"
    fits = [float(value.exp().mean()) for name, value in load_checkpoint(path)[0].items() if "log_theta" in name]
    assert max(fits) < 4 or min(fits) > 4  # they were fitted, not left at 4


@pytest.mark.slow
def test_leaky_activations_are_refused(tmp_path: Path) -> None:
    yaml = write_model_yaml(tmp_path / "tiny.yaml")
    with pytest.raises(ConfigError, match="take --activation clip instead of LeakyReLU"):
        train(
            TrainConfig(
                data=str(sample_images()), model=str(yaml), activation="leaky", image_size=IMAGE_SIZE, method="clif",
                out=str(tmp_path),
            )
        )  # fmt: skip

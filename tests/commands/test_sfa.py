"""SFA from training to every command that shows its network: integers and spikes are one network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import IMAGE_SIZE, chain, detector, sample_images, write_ann

from spikedet.checkpoint import load_checkpoint, read_meta, save_checkpoint
from spikedet.commands.convert import convert
from spikedet.commands.energy import energy
from spikedet.commands.evaluate import evaluate
from spikedet.commands.explain import explain
from spikedet.common.errors import ConfigError
from spikedet.config import ConvertConfig, EnergyConfig, EvaluateConfig, ExplainConfig, SimulationConfig
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.detections import Detections
from spikedet.inference.comparison import load_family
from spikedet.inference.detector import SpikingDetector
from spikedet.inference.network import load_network

pytestmark = pytest.mark.slow


def trained(folder: Path, T: int, D: int, worth: float = 1.0) -> Path:
    """A checkpoint as training leaves it, and the source that it came from."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_ann(folder / "ann.safetensors")
    tensors, meta = load_checkpoint(source)
    lower = {name: value - 0.25 if name.endswith("log_theta") else value for name, value in tensors.items()}
    facts: dict[str, Any] = {"stage": "sfa", "method": "sfa", "T": T * D, "D": D, "beta": 0.25, "worth": worth}
    return save_checkpoint(folder / "sfa.safetensors", lower, meta.child(source, **facts))


def images() -> torch.Tensor:
    dataset = load_dataset(str(sample_images()), "test")
    return to_input([dataset.read_image(i) for i in range(len(dataset))], IMAGE_SIZE)


@pytest.mark.parametrize(("T", "D", "worth"), [(1, 4, 1.0), (2, 2, 1.0), (1, 4, 0.25)])
def test_integers_and_spikes_have_the_same_row(tmp_path: Path, T: int, D: int, worth: float) -> None:
    sfa = trained(tmp_path, T, D, worth)
    (copied,) = convert(ConvertConfig(checkpoint=str(sfa)))
    meta = read_meta(copied)
    assert (meta.stage, meta.method, meta.T, meta.D, meta.delay, meta.neuron) == ("copied", "sfa", T * D, D, D, "if")
    rows = evaluate(EvaluateConfig(checkpoints=(str(copied),), split="test", out=str(tmp_path / "results")))
    by_network = {row.network: row for row in rows}
    integer, spikes = by_network["SFA, integers"], by_network["SFA, spikes"]
    assert {(row.method, row.T, row.D) for row in (integer, spikes)} == {("sfa", T * D, D)}
    assert pytest.approx(spikes.AP, abs=1e-6) == integer.AP and integer.AP is not None
    assert spikes.spikes_per_image and load_network(copied).latency(T * D) == spikes.L
    assert spikes.loss == pytest.approx(by_network["ANN"].AP - spikes.AP, abs=1e-4)  # type: ignore[operator]
    stored = json.loads((tmp_path / "results" / "results.json").read_text())["rows"]
    assert {row.get("D") for row in stored} == {None, D}
    report = energy(EnergyConfig(checkpoints=(str(copied),), split="test", out=str(tmp_path / "results")))
    spiking = [row for row in report.rows if row.T == T * D and row.spent]
    assert spiking and all(row.joules > 0 for row in spiking)
    assert [member.title for member in load_family([str(copied)], SimulationConfig())][-2:] == [
        f"SFA, integers, T = {T * D}",
        f"SFA, spikes, delay {D}, T = {T * D}",
    ]


@pytest.mark.parametrize(("T", "D"), [(1, 4), (3, 2)])
def test_without_and_with_simulation(tmp_path: Path, T: int, D: int) -> None:
    sfa = trained(tmp_path, T, D)
    (copied,) = convert(ConvertConfig(checkpoint=str(sfa)))
    fast, slow = load_network(copied), load_network(copied, SimulationConfig(backend="torch"))
    assert "closed form" in fast.describe(1) and "torch" in slow.describe(1)
    assert "native" in load_network(copied, SimulationConfig(backend="native")).describe(1)
    assert "closed form" not in load_network(copied, SimulationConfig(chunk=1)).describe(1)
    steps = range(1, T * D + 1)
    found, expected = (network(images(), steps, count_sops=True) for network in (fast, slow))
    for t in steps:
        assert torch.equal(found[t].spikes, expected[t].spikes)  # type: ignore[arg-type]
        assert torch.equal(found[t].operations, expected[t].operations)  # type: ignore[arg-type]
        assert torch.allclose(found[t].decoded, expected[t].decoded, atol=1e-3)
    integers = load_network(sfa)(images())[0].decoded
    assert torch.allclose(found[T * D].decoded, integers, atol=1e-3)
    image = load_dataset(str(sample_images()), "test").read_image(0)
    ((_, detections),) = SpikingDetector.load(copied).stream(image, [T * D])
    assert isinstance(detections, Detections)


def test_a_delayed_conversion_needs_no_simulation_either(tmp_path: Path) -> None:
    qc = chain()["qc"]
    (waits,) = convert(ConvertConfig(checkpoint=str(qc), delay=read_meta(qc).T or 0, out=str(tmp_path)))
    assert "closed form" in load_network(waits).describe(1)
    assert "closed form" not in load_network(chain()["copied"]).describe(1)


def test_explain_takes_one_real_step(tmp_path: Path) -> None:
    (copied,) = convert(ConvertConfig(checkpoint=str(trained(tmp_path / "one", 1, 4))))
    explain(ExplainConfig(checkpoint=str(copied), images=2, rank_images=0, out=str(tmp_path / "explained")))
    errors = json.loads((tmp_path / "explained" / "explain.json").read_text())
    assert errors["delay"] == 4
    (copied,) = convert(ConvertConfig(checkpoint=str(trained(tmp_path / "two", 2, 2))))
    with pytest.raises(ConfigError, match="2 real time steps, whose membranes carry over"):
        explain(ExplainConfig(checkpoint=str(copied), images=2, out=str(tmp_path / "explained")))


@pytest.mark.parametrize(
    "settings", [{"T": 8}, {"delay": 2}, {"neuron": "signed"}, {"max_pool": "or"}, {"method": "channel-norm"}]
)
def test_settings_that_change_the_network_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"trained by sfa for 1 x 4 sub-steps"):
        convert(ConvertConfig(checkpoint=str(trained(tmp_path, 1, 4)), **settings))


@pytest.mark.parametrize(("T", "D"), [(1, 4), (2, 2)])
def test_a_latency_is_refused(tmp_path: Path, T: int, D: int) -> None:
    sfa = trained(tmp_path, T, D)
    with pytest.raises(ConfigError, match=r"sfa\.safetensors: --latency has no effect .* by sfa; leave it out$"):
        convert(ConvertConfig(checkpoint=str(sfa), latency=60))
    assert not (tmp_path / "copied.safetensors").exists()


@pytest.mark.parametrize("stage1", [False, True])
def test_integers_stand_before_spikes_also_after_stage_1(tmp_path: Path, stage1: bool) -> None:
    sfa = trained(tmp_path, 1, 4)
    if stage1:
        tensors, meta = load_checkpoint(sfa)
        source = meta.parent["file"]  # type: ignore[index]
        facts: dict[str, Any] = {"stage": "qc", "method": "conversion", "D": None, "beta": None, "finetuned": True}
        qc = save_checkpoint(tmp_path / "qc.safetensors", tensors, dataclasses.replace(meta, **facts))
        made = dataclasses.replace(meta, finetuned=True).child(qc)
        sfa = save_checkpoint(tmp_path / "sfa.safetensors", tensors, made)
        assert Path(source).is_file()
    (copied,) = convert(ConvertConfig(checkpoint=str(sfa)))
    titles = [member.title for member in load_family([str(copied)], SimulationConfig())]
    assert titles[0] == "ANN" and titles[-2] == "SFA, integers, T = 4" and "delay 4, T = 4" in titles[-1]
    assert titles[1:-2] == ["QC-ANN, T = 4"] * stage1


def test_one_real_step_is_what_a_qc_ann_becomes(tmp_path: Path) -> None:
    """The same file but for its name: convert makes the same tensors and the same graph of both."""
    sfa = trained(tmp_path / "sfa", 1, 4)
    tensors, meta = load_checkpoint(sfa)
    facts: dict[str, Any] = {"stage": "qc", "method": "conversion", "D": None, "beta": None, "T": 4}
    qc = save_checkpoint(tmp_path / "qc.safetensors", tensors, dataclasses.replace(meta, **facts))
    (one,) = convert(ConvertConfig(checkpoint=str(sfa)))
    (other,) = convert(ConvertConfig(checkpoint=str(qc), delay=4))
    assert read_meta(one).graph == read_meta(other).graph
    assert all(torch.equal(value, load_checkpoint(other)[0][name]) for name, value in load_checkpoint(one)[0].items())
    assert torch.equal(load_network(sfa)(images())[0].decoded, load_network(qc)(images())[0].decoded)
    assert detector().steps == 0

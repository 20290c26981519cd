"""Experiments: what their YAML says is possible, and a whole one on a tiny copy of the official folder layout."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections import Counter
from pathlib import Path

import accuracy
import pytest
import torch
from experiment import Experiment, NetworkSettings, load_experiment
from PIL import Image
from tables import network_name, versus_paper
from tiny_detector import chain, sample_images

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.common.errors import ConfigError
from spikedet.config import (
    CalibrateConfig,
    ConvertConfig,
    EvaluateConfig,
    FinetuneConfig,
    JointConfig,
    TrainConfig,
)
from spikedet.evaluation import read_results, write_results

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unrendered_plots")]

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_setting_is_one_of_its_stage(path: Path) -> None:
    experiment = load_experiment(path)
    assert experiment.name == path.stem
    for settings in experiment.sources.values():
        TrainConfig(**{**experiment.train, **settings})
    for settings in experiment.finetune.values():
        FinetuneConfig(checkpoint="x", **{k: v for k, v in settings.items() if k not in ("after", "source")})
        assert settings.get("after", settings.get("source", "source")) in {*experiment.sources, *experiment.finetune}
    for network in experiment.networks:
        CalibrateConfig(checkpoint="x", **{**experiment.calibrate, **network.calibrate})
        JointConfig(checkpoint="x", **{**experiment.joint, **(network.joint or {})})
        ConvertConfig(
            checkpoint="x",
            T=network.T,
            method=network.method,
            neuron=network.neuron,
            delay=network.delay,
            max_pool=network.max_pool,
        )
        EvaluateConfig(checkpoints=("x",), t=network.t, limit=network.limit)
        assert network.stage1 in {*experiment.sources, *experiment.finetune}
    folders = Counter((n.folder, n.calibrated) for n in experiment.networks)
    assert max(folders.values()) == 1, folders
    assert experiment.plot in accuracy.PLOTS


def test_an_experiment_takes_from_its_base_what_it_does_not_say() -> None:
    base, seeds = (load_experiment(ROOT / f"configs/experiments/{name}.yaml") for name in ("voc_scratch", "voc_seeds"))
    assert (seeds.train, seeds.calibrate, seeds.split) == (base.train, base.calibrate, base.split)
    assert base.finetune.items() <= seeds.finetune.items()
    assert seeds.finetune["T4-seed1"] == {**base.finetune["T4"], "seed": 1}
    assert seeds.networks != base.networks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not an experiment"),
        ("- 1", "not an experiment"),
        ("name: a\nsplits: b", "unknown key 'splits'"),
        ("name: a", "is missing"),
        ("name: a\nstages: [fine, finest]", "no stage 'finest'"),
        ("base: none.yaml", r"none\.yaml: not an experiment"),
        ("name: a\nnetworks: [{T: 4}]", "network 1: 'stage1' is missing"),
        ("name: a\nnetworks: [{T: 4, stage1: source, steps: 2}]", "network 1: unknown key 'steps'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_experiment(path)


def test_single_networks_of_an_experiment() -> None:
    experiment = load_experiment(ROOT / "configs/experiments/voc_seeds.yaml")
    second, fifth = experiment.networks[1], experiment.networks[4]
    assert accuracy.with_only(experiment, "2,5").networks == (second, fifth)
    assert accuracy.with_only(experiment, "") == experiment
    for wrong in ("0", "7", "x", "1,", "2-5"):
        with pytest.raises(ConfigError, match="from 1 to 6"):
            accuracy.with_only(experiment, wrong)


def test_single_networks_need_their_own_source_and_stage_1_alone() -> None:
    zoo = accuracy.with_only(load_experiment(ROOT / "configs/experiments/zoo_bccd.yaml"), "4,5")
    assert list(zoo.sources) == ["yolov3-tiny-leaky", "yolov5n-clip"]
    assert list(zoo.finetune) == ["yolov3-tiny-leaky-T8", "yolov5n-clip-T4"]
    scratch = load_experiment(ROOT / "configs/experiments/voc_scratch.yaml")
    distilled = next(n for n, network in enumerate(scratch.networks, 1) if network.stage1 == "T4-distill")
    assert list(accuracy.with_only(scratch, str(distilled)).finetune) == ["T4", "T4-distill"]
    copied = next(n for n, network in enumerate(scratch.networks, 1) if network.stage1 == "source")
    assert accuracy.with_only(scratch, str(copied)).finetune == {}
    assert list(accuracy.with_only(scratch, str(copied)).sources) == ["source"]


def test_a_stage_1_that_is_given_needs_none_before_it() -> None:
    scratch = load_experiment(ROOT / "configs/experiments/voc_scratch.yaml")
    pruned = accuracy.with_only(scratch, "", ["T4-distill"])
    assert (list(pruned.finetune), list(pruned.sources)) == (["T4-distill"], ["source"])
    assert pruned.networks == scratch.networks
    with pytest.raises(ConfigError, match="--stage1 T5: voc_scratch has T4, T4-distill"):
        accuracy.with_only(scratch, "", ["T5"])


def test_stage_1_files_are_named() -> None:
    assert accuracy.stage1_files(["a=b.safetensors", "c=d=e"]) == {"a": Path("b.safetensors"), "c": Path("d=e")}
    with pytest.raises(ConfigError, match=r"--stage1 b\.safetensors: expected NAME=FILE"):
        accuracy.stage1_files(["b.safetensors"])


def test_folders_tell_networks_apart() -> None:
    plain = NetworkSettings(stage1="T4", T=8)
    other = NetworkSettings(stage1="T4", T=8, calibrate={"images": 2}, seed=1)
    assert (plain.folder, plain.converted) == ("T4-if-T8-delay0", "T4-if-T8-delay0")
    assert (other.folder, other.converted) == ("T4-if-T8-delay0-seed1-images-2", "T4-if-T8-delay0-seed1")
    joint = dataclasses.replace(other, joint={"sparsity": 2})
    assert (joint.folder, joint.layerwise) == (f"{other.folder}-joint-sparsity-2", other.folder)
    assert NetworkSettings(stage1="T4", T=8, calibrated=False, joint={}).folder == "T4-if-T8-delay0-copied-joint"


# --- the published protocol, on images that mean nothing ------------------------------------------------------------


def write_year(folder: Path, splits: dict[str, int]) -> None:
    """A year of an official devkit: numbered names, per-class lists, ``difficult`` objects."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    number = 0
    for split, count in splits.items():
        names = []
        for _ in range(count):
            number += 1
            name = f"{number:06d}"
            names.append(name)
            image = Image.effect_noise((80, 60), 60).convert("RGB")
            image.paste((200, 30 * (number % 8), 40), (10 + number % 9, 10, 50, 45))
            image.save(folder / "JPEGImages" / f"{name}.jpg")
            objects = "".join(
                f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{11 + number % 9}</xmin>"
                "<ymin>11</ymin><xmax>50</xmax><ymax>45</ymax></bndbox></object>"
                for label, difficult in (("person", 0), ("tvmonitor", number % 2))
            )
            (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names))
        (folder / "ImageSets/Main" / f"person_{split}.txt").write_text("\n".join(f"{name}  1" for name in names))


def shrunk(experiment: Experiment) -> Experiment:
    """The same steps in seconds: windows of at most six steps, one epoch, four calibration images."""
    steps = {20: 3, 40: 4, 60: 5, 2000: 6}
    networks = tuple(
        dataclasses.replace(
            network,
            T=steps.get(network.T, network.T),
            t=",".join(str(steps.get(int(t), int(t))) for t in network.t.split(",") if t),
        )
        for network in experiment.networks
        if (network.T, network.neuron) in {(20, "if"), (4, "signed"), (2000, "if")}
    )
    return dataclasses.replace(
        experiment,
        train={**experiment.train, "model": "tiny-yolo-nano", "image_size": 64, "epochs": 1, "batch": 4},
        finetune={"T4": {**experiment.finetune["T4"], "epochs": 1, "batch": 4}},
        calibrate={"images": 4, "epochs": 1},
        joint={"epochs": 1, "batch": 4},
        networks=networks,
        paper=tuple({**row, "T": steps.get(row["T"], row["T"])} for row in experiment.paper),
    )


def test_the_published_protocol_runs_to_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    write_year(tmp_path / "VOCdevkit/VOC2007", {"trainval": 6, "test": 3})
    write_year(tmp_path / "VOCdevkit/VOC2012", {"trainval": 5})
    whole = load_experiment(ROOT / "configs/experiments/voc07+12.yaml")
    experiment = shrunk(whole)
    fetched: list[str] = []
    monkeypatch.setattr(accuracy, "load_experiment", lambda _: experiment)
    monkeypatch.setattr(accuracy, "data_download", lambda config: fetched.append(config.out))
    command = ["accuracy.py", "x.yaml", "--data", str(tmp_path / "VOCdevkit"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*command, "--download"])
    accuracy.main()
    assert fetched == [str(tmp_path)]
    _, rows = read_results(tmp_path / "out/results/voc07+12/results.json")
    assert {(r.data, r.split, r.images) for r in rows} == {("VOCdevkit", "VOC2007/test", 3)}
    names = {network_name(r) for r in rows}
    assert {"ANN", "Stage I", "Stage I + Stage II", "Stage II", "Stage I + joint, signed IF"} <= names
    assert "Stage I + Stage II + joint" in names
    assert {row["network"] for row in whole.paper} <= names
    assert (tmp_path / "out/results/voc07+12/voc07+12.png").exists()
    shown = capsys.readouterr().out
    assert versus_paper(rows, experiment.paper) in shown
    assert "| Stage I + Stage II | 3 | 28.5 | 64.1 |" in shown
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")}
    accuracy.main()  # nothing is left to do but the table
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")} == before


def test_sfa_stands_beside_two_stage_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_experiment(ROOT / "configs/experiments/bccd_sfa.yaml")
    chosen = {(name, "if", 0) for name in ("scratch-2x2", "tuned-1x4", "T4")}
    experiment = dataclasses.replace(
        whole,
        train={**whole.train, "model": "tiny-yolo-nano", "image_size": 64, "epochs": 1, "batch": 4},
        sources={"source": {}, "scratch-2x2": {**whole.sources["scratch-2x2"], "epochs": 1}},
        finetune={name: {**whole.finetune[name], "epochs": 1, "batch": 4} for name in ("tuned-1x4", "T4")},
        calibrate={"images": 4, "epochs": 1},
        networks=tuple(n for n in whole.networks if (n.stage1, n.neuron, n.delay) in chosen),
    )
    monkeypatch.setattr(accuracy, "load_experiment", lambda _: experiment)
    command = ["accuracy.py", "x.yaml", "--data", str(sample_images()), "--out", str(tmp_path), "--source"]
    monkeypatch.setattr(sys, "argv", [*command, str(chain()["ann"])])
    accuracy.main()
    _, rows = read_results(tmp_path / "results/bccd_sfa/results.json")
    found = {(network_name(row), row.method, row.T, row.D) for row in rows}
    assert {
        ("SFA, T x D = 2 x 2, integers", "sfa", 4, 2),
        ("SFA, T x D = 2 x 2, delay 2", "sfa", 4, 2),
        ("SFA, T x D = 1 x 4, delay 4", "sfa", 4, 4),
        ("Stage I + Stage II", "two-stage", 4, None),
        ("QC-ANN", "two-stage", 4, None),
        ("ANN", "two-stage", None, None),
    } <= found
    made = [path for path in tmp_path.rglob("*.safetensors") if path.name != "ann.safetensors"]
    before = [path.stat().st_mtime_ns for path in made]
    accuracy.main()  # nothing is left to do but the table
    assert [path.stat().st_mtime_ns for path in made] == before


def test_rows_of_earlier_versions_get_their_checkpoints_from_the_detections_kept(tmp_path: Path) -> None:
    settings = NetworkSettings(stage1="source", T=2, calibrated=False)
    experiment = Experiment(name="e", split="test", train={}, finetune={}, calibrate={}, networks=(settings,))
    read_rows = functools.partial(accuracy.run, experiment, str(sample_images()), tmp_path, chain()["ann"])
    _, first = read_results(read_rows())
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "detections").iterdir()}
    for results in (tmp_path / "results").glob("*/results.json"):
        meta, rows = read_results(results)
        write_results(results, meta, [dataclasses.replace(row, checkpoint=None, operations=None) for row in rows])
    assert read_results(read_rows())[1] == first and all(row.checkpoint for row in first)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_source_that_is_there_is_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(accuracy, "train", train)
    settings = NetworkSettings(stage1="source", T=2, calibrated=False)
    experiment = Experiment(name="e", split="test", train={}, finetune={}, calibrate={}, networks=(settings,))
    results = accuracy.run(experiment, str(sample_images()), tmp_path, chain()["ann"])
    assert [row.stage for row in read_results(results)[1]] == ["ann", "copied"]
    jointly = dataclasses.replace(settings, joint={"epochs": 1, "batch": 4})
    results = accuracy.run(
        dataclasses.replace(experiment, networks=(jointly,)), str(sample_images()), tmp_path, chain()["ann"]
    )
    assert [(row.stage, row.calibrated) for row in read_results(results)[1]][1:] == [
        ("copied", None),
        ("joint", "jointly"),
    ]
    more = dataclasses.replace(experiment, networks=(settings, dataclasses.replace(settings, T=3)))
    meta, rows = read_results(accuracy.so_far(more, tmp_path))
    assert (meta["evaluated"], [row.T for row in rows]) == ("1 of 2 networks", [None, 2])
    with pytest.raises(ConfigError, match="no network of e is evaluated yet"):
        accuracy.so_far(experiment, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="e has sources of its own, other"):
        accuracy.run(dataclasses.replace(experiment, sources={"other": {}}), "", tmp_path, chain()["ann"])


def test_a_stage_1_that_is_there_is_not_trained_and_loses_against_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finetune(config: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(accuracy, "finetune", finetune)
    settings = NetworkSettings(stage1="given", T=2, calibrated=False)
    experiment = Experiment(
        name="e", split="test", train={}, finetune={"given": {"T": 2}}, calibrate={}, networks=(settings,)
    )
    stage1 = tmp_path / "published.safetensors"
    tensors, meta = load_checkpoint(chain()["qc"])
    save_checkpoint(stage1, tensors, dataclasses.replace(meta, parent=None), half=True)
    results = accuracy.run(experiment, str(sample_images()), tmp_path / "out", chain()["ann"], given={"given": stage1})
    rows = read_results(results)[1]
    assert [(row.stage, row.finetuned) for row in rows] == [
        ("ann", False),
        ("ann", True),
        ("qc", True),
        ("copied", True),
    ]
    assert rows[-1].loss == pytest.approx(max(rows[0].AP or 0, rows[1].AP or 0) - (rows[-1].AP or 0), abs=1e-3)
    integers = dataclasses.replace(experiment, name="i", finetune={"given": {"method": "sfa", "T": 1}}, networks=())
    accuracy.run(integers, str(sample_images()), tmp_path / "sfa", chain()["ann"], given={"given": stage1})
    assert [path.name for path in (tmp_path / "sfa" / "given").iterdir()] == ["sfa.safetensors"]

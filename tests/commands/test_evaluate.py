"""Evaluation of whole chains: which networks, against which ANN, and what is written."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_detector import T, chain, fingerprint, sample_images, write_ann

from spikedet.checkpoint import CheckpointMeta, load_checkpoint, read_meta, save_checkpoint
from spikedet.commands.convert import convert
from spikedet.commands.evaluate import Evaluated, evaluate, expand, made_by, make_rows
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError, DataError
from spikedet.config import ConvertConfig, EvaluateConfig
from spikedet.data import DetectionDataset, load_dataset
from spikedet.data.dataset import Sample
from spikedet.data.transforms import to_input
from spikedet.detections import Detections
from spikedet.evaluation import ResultRow, markdown_table, measure, read_results
from spikedet.evaluation.predict import predict_dataset
from spikedet.evaluation.results import OPTIONAL_KEYS
from spikedet.inference.network import load_network

pytestmark = pytest.mark.slow

STAGES = ("ann", "qc", "copied", "coarse", "fine")


def config(out: Path, *checkpoints: Path, **changes: Any) -> EvaluateConfig:
    paths = tuple(str(path) for path in checkpoints or (chain().folder,))
    return EvaluateConfig(checkpoints=paths, **{"split": "test", "draws": 50, "out": str(out), **changes})


# --- the networks of a chain ----------------------------------------------------------------------------------------


def test_a_folder_stands_for_its_stages_in_order(tmp_path: Path) -> None:
    for name in ("fine", "ann", "last", "copied", "other"):
        (tmp_path / f"{name}.safetensors").touch()
    assert [path.stem for path in expand([str(tmp_path)])] == ["ann", "copied", "fine"]


def test_files_stand_for_themselves(tmp_path: Path) -> None:
    assert expand(["b.safetensors", str(tmp_path / "a")]) == [Path("b.safetensors"), tmp_path / "a"]


@pytest.mark.parametrize(("checkpoints", "message"), [([], "say which checkpoints"), (["."], "no checkpoint in this")])
def test_nothing_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Sequence[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        expand(checkpoints)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors: no such checkpoint"):
        evaluate(config(tmp_path, tmp_path / "none.safetensors"))


# --- the conversion loss --------------------------------------------------------------------------------------------

BOX = [10.0, 10.0, 50.0, 50.0]


def evaluated_dataset() -> DetectionDataset:
    """Four images with the same object."""
    box, label = np.array([BOX], np.float32), np.zeros(1, np.int64)
    flags = np.zeros(1, np.bool_), np.zeros(1, np.bool_)
    samples = tuple(Sample(str(i), Path(f"{i}.png"), (64, 64), box, label, *flags) for i in range(4))
    return DetectionDataset("folder/made", "test", ("thing",), samples)


def evaluated(network: str, digest: str, parent: str | None, found: int, **known: Any) -> Evaluated:
    """A network of which this is known that finds the object in so many of the four images."""
    hit, miss = Detections([BOX], [0.9], [0]), Detections.empty()  # type: ignore[arg-type]
    detections = [hit] * found + [miss] * (4 - found)
    spiking = network not in ("ann", "qc")
    facts: dict[str, Any] = {
        "stage": network,
        "model": "tiny",
        "architecture": {"backbone": [], "head": []},
        "class_names": ("thing",),
        "image_size": 64,
        "T": None if network == "ann" else 4,
        "neuron": "if" if spiking else None,
        "parent": {"file": "", "sha256": parent, "stage": ""} if parent else None,
        "versions": {},
    }
    meta = CheckpointMeta(**{**facts, **known})
    measures = vars(measure(evaluated_dataset(), detections))
    steps = {"t": meta.T, "L": meta.T if spiking else None}
    row = ResultRow(**made_by(meta, network, digest), **steps, data="made", split="test", images=4, **measures)
    return Evaluated(row, detections)


def rows_of(*networks: Evaluated, **settings: int) -> list[ResultRow]:
    parents = {one.row.checkpoint or "": one.row.parent for one in networks}
    config = EvaluateConfig(checkpoints=("a",), **{"draws": 20, **settings})  # type: ignore[arg-type]
    return make_rows(networks, evaluated_dataset(), config, parents)


def losses(*networks: Evaluated) -> list[float | None]:
    return [row.loss for row in rows_of(*networks)]


def ap(found: int) -> float:
    return evaluated("ann", "", None, found).ap


def test_loss_against_the_source() -> None:
    assert losses(evaluated("ann", "a", None, 4), evaluated("copied", "c", "a", 2)) == [
        None,
        pytest.approx(100 - ap(2)),
    ]


@pytest.mark.parametrize(("source", "clip"), [(4, 2), (2, 4), (3, 3)])
def test_loss_against_the_better_of_source_and_clip_ann(source: int, clip: int) -> None:
    found = losses(
        evaluated("ann", "a", None, source),
        evaluated("ann", "q", "a", clip),
        evaluated("qc", "q", "a", 3),
        evaluated("copied", "c", "q", 1),
    )
    best = max(ap(source), ap(clip))
    assert found == [None, None, pytest.approx(best - ap(3)), pytest.approx(best - ap(1))]


def test_chains_do_not_mix() -> None:
    """The better ANN of the other chain is no reference, and neither is a sibling's."""
    found = losses(
        evaluated("ann", "a", None, 4),
        evaluated("copied", "c", "a", 3),
        evaluated("ann", "b", None, 2),
        evaluated("ann", "q", "b", 1),
        evaluated("copied", "d", "b", 1),
        evaluated("fine", "f", "d", 2),
    )
    assert found == [
        None,
        pytest.approx(100 - ap(3)),
        None,
        None,
        pytest.approx(ap(2) - ap(1)),
        pytest.approx(0),
    ]


def test_without_its_ann_a_network_has_no_loss() -> None:
    assert losses(evaluated("ann", "b", None, 4), evaluated("copied", "c", "a", 2)) == [None, None]


def test_the_interval_is_seeded_and_holds_the_loss() -> None:
    networks = [evaluated("ann", "a", None, 4), evaluated("copied", "c", "a", 2)]
    rows = [rows_of(*networks, draws=50, seed=seed)[1] for seed in (0, 0, 1)]
    assert rows[0].loss_ci95 == rows[1].loss_ci95 != rows[2].loss_ci95
    low, high = rows[0].loss_ci95 or (0, 0)
    assert low <= (rows[0].loss or 0) <= high


def test_rows_say_what_was_judged() -> None:
    (row,) = rows_of(evaluated("copied", "c", "a", 2))
    assert (row.model, row.stage, row.finetuned, row.neuron, row.delay) == ("tiny", "copied", False, "if", 0)
    assert (row.checkpoint, row.parent, row.loss) == ("c", "a", None)
    assert pytest.approx(ap(2)) == row.AP
    assert row.per_class is not None
    assert set(row.per_class) == {"thing"}


@pytest.mark.parametrize(
    ("finetuned", "settings", "said"),
    [
        (True, {"T": 4, "distill": 3.0}, "T = 4, distilled"),
        (True, {"T": 4, "distill": 0.0, "sparsity": 0.0}, "T = 4"),
        (True, {"T": 2, "sparsity": 0.5}, "T = 2, sparsity 0.5"),
        (True, {"T": 4, "copies": 2, "distill": 3.0}, "T = 4, 2 copies, distilled"),
        (True, {"T": 8, "distill": 1.0, "sparsity": 5.0}, "T = 8, distilled, sparsity 5"),
        (False, {}, "no"),
    ],
)
def test_rows_say_what_stage_1_was(finetuned: bool, settings: dict[str, Any], said: str) -> None:
    row = evaluated("copied", "c", "a", 2, finetuned=finetuned, config={"finetune": settings}).row
    assert row.stage1 == said
    assert f"| {said} |" in markdown_table([row])


@pytest.mark.parametrize(("weights", "said"), [("none", "from scratch"), ("auto", None), ("a.safetensors", None)])
def test_rows_without_stage_1_say_whether_training_had_weights(weights: str, said: str | None) -> None:
    config = {"train": {"weights": weights}}
    assert evaluated("ann", "a", None, 2, config=config).row.stage1_options == said
    assert evaluated("copied", "c", "a", 2, finetuned=False, config=config).row.stage1_options == said
    stage1 = {**config, "finetune": {"T": 4}}
    assert evaluated("copied", "c", "a", 2, finetuned=True, config=stage1).row.stage1_options == ""


POOLED = {"backbone": [[-1, 1, "nn.MaxPool2d", [2, 2, 0]]], "head": []}


@pytest.mark.parametrize(
    ("changes", "pool"),
    [
        ({"architecture": POOLED}, "count"),
        ({"architecture": POOLED, "max_pool": "or"}, "or"),
        ({"architecture": POOLED, "stage": "qc"}, None),  # takes maxima itself
        ({"architecture": POOLED, "config": {"finetune": {"pool": "average"}}}, "average"),
        ({}, None),
    ],
)
def test_rows_say_what_stands_for_maxima(changes: dict[str, Any], pool: str | None) -> None:
    row = evaluated("copied", "c", "a", 2, **changes).row
    assert row.max_pool == pool
    assert ("| max-pool |" in markdown_table([row])) is (pool is not None)


@pytest.mark.parametrize(
    ("named", "said", "subject"),
    [("torch.nn.LeakyReLU(0.1)", "leaky", "tiny, leaky on made"), ("torch.nn.ReLU()", None, "tiny on made")],
)
def test_rows_say_which_activation_a_network_has(named: str, said: str | None, subject: str) -> None:
    row = evaluated("ann", "a", None, 2, architecture={"backbone": [], "head": [], "activation": named}).row
    assert row.activation == said
    assert subject in markdown_table([row])


# --- a whole run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ResultRow]]:
    """All stages at t = 2 and 4."""
    out = tmp_path_factory.mktemp("evaluated")
    return out, evaluate(config(out, t="4,2"))


def by_key(rows: Sequence[ResultRow]) -> dict[tuple[Any, ...], ResultRow]:
    return {(row.stage, row.finetuned, row.t): row for row in rows}


def test_rows_of_a_run(results: tuple[Path, list[ResultRow]]) -> None:
    _, rows = results
    assert [(row.stage, row.finetuned, row.T, row.t, row.L) for row in rows] == [
        ("ann", False, None, None, None),
        ("ann", True, None, None, None),
        ("qc", True, T, T, None),
        *[(stage, True, T, t, t) for stage in ("copied", "coarse", "fine") for t in (2, 4)],
    ]
    assert {row.neuron for row in rows} == {None, "if"}
    assert {(row.data, row.split, row.images) for row in rows} == {("images", "test", 4)}


@pytest.mark.parametrize("stage", ["ann", "qc", "copied", "fine"])
def test_measures_are_those_of_the_networks(results: tuple[Path, list[ResultRow]], stage: str) -> None:
    network = load_network(chain()[stage])
    dataset = load_dataset(sample_images(), "test", class_names=network.meta.class_names)
    spikes: dict[int, list[float]] = {}

    def forward(images: Any) -> dict[int, Any]:
        found = network(images, network.steps([2, 4]))
        for t, prediction in found.items():
            spikes.setdefault(t, []).extend([] if prediction.spikes is None else prediction.spikes.tolist())
        return {t: prediction.decoded for t, prediction in found.items()}

    for t, detections in predict_dataset(forward, dataset, network.meta.image_size).items():
        shown = t or (T if stage == "qc" else None)
        row = by_key(results[1])[(stage, stage != "ann", shown)]
        expected = vars(measure(dataset, detections))
        assert {name: getattr(row, name) for name in expected} == expected
        mean = sum(spikes[t]) / 4 if spikes[t] else None
        assert row.spikes_per_image == (None if mean is None else pytest.approx(mean))
        assert (mean is None) == (stage in ("ann", "qc"))


def test_losses_of_a_run(results: tuple[Path, list[ResultRow]]) -> None:
    _, rows = results
    best = max(row.AP or 0 for row in rows if row.stage == "ann")
    assert best > 0
    for row in rows:
        assert row.loss == (None if row.stage == "ann" else pytest.approx(best - (row.AP or 0)))
        assert (row.loss is None) == (row.loss_ci95 is None)


def test_results_json(results: tuple[Path, list[ResultRow]]) -> None:
    out, rows = results
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert set(content) == {"meta", "rows"}
    assert set(content["meta"]) == {"versions", "command", "config", "seed", "checkpoints", "data", "data_key"}
    found = {(out / name).resolve(): digest for name, digest in content["meta"]["checkpoints"].items()}
    assert found == {chain()[s].resolve(): file_sha256(chain()[s]) for s in STAGES}
    assert not any(Path(name).is_absolute() for name in content["meta"]["checkpoints"])
    assert (out / content["meta"]["data"]).resolve() == sample_images().resolve()
    assert content["meta"]["config"]["t"] == "4,2"
    for written in content["rows"]:
        facts = {"fine": ("calibration_images", "calibrated"), "coarse": ("calibration_images",)}
        more = ["checkpoint", *(["parent"] if written["stage"] != "ann" or written["finetuned"] else [])]
        more += ["operations"] if written["neuron"] else []
        always = [field.name for field in dataclasses.fields(ResultRow) if field.name not in OPTIONAL_KEYS]
        assert tuple(written) == (*always, "per_class", *facts.get(written["stage"], ()), *more)
    meta, read = read_results(out / "results.json")
    assert meta == content["meta"]
    assert [(row.stage, row.t, row.spikes_per_image) for row in read] == [
        (row.stage, row.t, row.spikes_per_image) for row in rows
    ]
    assert [row.AP for row in read] == [pytest.approx(row.AP, abs=1e-4) for row in rows]
    names = ("checkpoint", "parent", "operations")
    assert [[getattr(row, name) for name in names] for row in read] == [
        [getattr(row, name) for name in names] for row in rows
    ]


def test_operations_of_a_run(results: tuple[Path, list[ResultRow]]) -> None:
    """Against the simulator's own spikes, one image at a time."""
    _, rows = results
    two, four = (row.operations for row in rows if row.stage == "fine")
    network = load_network(chain()["fine"])
    dataset = load_dataset(sample_images(), "test")
    images = [to_input([dataset.read_image(i)], network.meta.image_size) for i in range(4)]
    predictions = [network(image, [2, 4], count_sops=True) for image in images]
    for t, counts in ((2, two), (4, four)):
        spikes, sops = ([float(getattr(p[t], name)) for p in predictions] for name in ("spikes", "sops"))
        assert counts is not None
        assert (counts.spikes, counts.sops) == (np.mean(spikes), np.mean(sops))
        assert (counts.spikes_std, counts.sops_std) == pytest.approx((np.std(spikes, ddof=1), np.std(sops, ddof=1)))
        assert counts.covariance == pytest.approx(np.cov(sops, spikes)[0, 1])
    assert two.layers == () and sum(sum(layer.sops) for layer in four.layers) == pytest.approx(four.sops)


def test_table_and_image(results: tuple[Path, list[ResultRow]], capsys: pytest.CaptureFixture[str]) -> None:
    out, rows = results
    assert (out / "table.md").read_text(encoding="utf-8") == markdown_table(rows)
    with Image.open(out / "ap_by_t.png") as image:
        assert image.format == "PNG"
    assert sorted(path.name for path in out.iterdir()) == ["ap_by_t.png", "detections", "results.json", "table.md"]


def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(config(tmp_path, chain()["ann"], limit=2))
    assert (tmp_path / "table.md").read_text(encoding="utf-8") in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"batch": 1}, {"batch": 3, "chunk": 1}])
def test_batches_and_chunks_change_nothing(
    tmp_path: Path, results: tuple[Path, list[ResultRow]], changes: dict[str, int]
) -> None:
    rows = evaluate(config(tmp_path, chain()["fine"], t="2,4", **changes))
    expected = by_key(results[1])
    for row in rows:
        key = (row.stage, row.finetuned, row.t)
        assert pytest.approx(expected[key].AP, abs=0.05) == row.AP
        if row.spikes_per_image is not None:
            assert row.spikes_per_image == pytest.approx(expected[key].spikes_per_image, rel=1e-3)


@pytest.mark.parametrize(("t", "read"), [("", [T]), ("4,8", [4]), ("2", [2]), ("8", []), ("1,3,100", [1, 3])], ids=str)
def test_steps_beyond_a_networks_window_are_left_out_for_it(
    tmp_path: Path, t: str, read: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = evaluate(config(tmp_path, chain()["copied"], t=t, limit=2))
    assert [row.t for row in rows if row.stage == "copied"] == read
    assert [row.stage for row in rows][:3] == ["ann", "ann", "qc"]
    beyond = [step for step in map(int, filter(None, t.split(","))) if step > T]
    said = f"copied: t = {beyond[0] if beyond else ''} left out, its T is {T}"
    assert (said in capsys.readouterr().out) == bool(beyond)


@pytest.mark.parametrize(("limit", "images"), [(1, 1), (3, 3), (0, 4), (99, 4)])
def test_limit(tmp_path: Path, limit: int, images: int) -> None:
    rows = evaluate(config(tmp_path, chain()["ann"], limit=limit))
    assert {row.images for row in rows} == {images}


def test_the_first_images_are_those_that_count(tmp_path: Path) -> None:
    (row,) = evaluate(config(tmp_path, chain()["ann"], limit=2))
    network = load_network(chain()["ann"])
    first = load_dataset(sample_images(), "test", class_names=network.meta.class_names).subset([0, 1])
    found = predict_dataset(lambda x: {0: network(x, [0])[0].decoded}, first, network.meta.image_size)
    assert row.AP == measure(first, found[0]).AP


@pytest.mark.parametrize(("split", "images"), [("val", 4), ("train", 8)])
def test_split(tmp_path: Path, split: str, images: int) -> None:
    (row,) = evaluate(config(tmp_path, chain()["ann"], split=split))
    assert (row.split, row.images) == (split, images)


def test_another_data_set(tmp_path: Path) -> None:
    other = Path(shutil.copytree(sample_images(), tmp_path / "other"))
    (row,) = evaluate(config(tmp_path / "out", chain()["ann"], data=str(other)))
    assert row.data == "other"
    with pytest.raises(DataError, match="nowhere: no such dataset"):
        evaluate(config(tmp_path / "out", chain()["ann"], data="nowhere"))


def test_several_windows_and_delays_in_one_table(tmp_path: Path) -> None:
    paths = [chain()["copied"]]
    for name, settings in (("long", {"T": 6}), ("late", {"delay": 1})):
        paths += convert(ConvertConfig(checkpoint=str(chain()["qc"]), out=str(tmp_path / name), **settings))  # type: ignore[arg-type]
    rows = evaluate(config(tmp_path, *paths, limit=2, t="4,6"))
    spiking = [(row.T, row.t, row.delay, (row.L or 0) > (row.t or 0)) for row in rows if row.stage == "copied"]
    assert spiking == [(4, 4, 0, False), (6, 4, 0, False), (6, 6, 0, False), (4, 4, 1, True)]
    assert [row.stage for row in rows].count("ann") == 2


def test_two_sources_in_one_call(tmp_path: Path) -> None:
    """Each network's loss is against its own source."""
    other = write_ann(tmp_path / "other" / "ann.safetensors", seed=1)
    convert(ConvertConfig(checkpoint=str(other), T=2))
    rows = evaluate(config(tmp_path, chain()["copied"], other.parent))
    sources = [row.AP or 0 for row in rows if row.stage == "ann"]
    first, second = (row for row in rows if row.stage == "copied")
    assert first.loss == pytest.approx(max(sources[:2]) - (first.AP or 0))
    assert second.loss == pytest.approx(sources[2] - (second.AP or 0))
    assert max(sources[:2]) != sources[2]


def test_nothing_that_is_read_changes(tmp_path: Path) -> None:
    before = fingerprint(chain().folder), fingerprint(sample_images())
    evaluate(config(tmp_path, chain()["fine"], limit=1))
    assert (fingerprint(chain().folder), fingerprint(sample_images())) == before


# --- what is not as documented --------------------------------------------------------------------------------------


def altered(path: Path, source: Path, **changes: Any) -> Path:
    """A copy of a checkpoint with other metadata."""
    tensors, meta = load_checkpoint(source)
    return save_checkpoint(path, tensors, dataclasses.replace(meta, **changes))


def test_images_without_objects_have_no_ap_and_no_loss(tmp_path: Path) -> None:
    empty = Path(shutil.copytree(sample_images(), tmp_path / "empty"))
    for annotation in (empty / "Annotations").iterdir():
        annotation.write_text("<annotation></annotation>", encoding="utf-8")
    rows = evaluate(config(tmp_path / "out", chain()["copied"], data=str(empty)))
    assert {(row.AP, row.loss) for row in rows} == {(None, None)}


def test_data_is_the_first_checkpoints(tmp_path: Path) -> None:
    other = shutil.copytree(sample_images(), tmp_path / "other")
    meta = read_meta(chain()["ann"])
    second = altered(tmp_path / "a.safetensors", chain()["ann"], data={**meta.data, "data": str(other)})
    rows = evaluate(config(tmp_path / "out", chain()["ann"], second, limit=1))
    assert {row.data for row in rows} == {"images"}


def test_networks_of_other_classes_are_refused(tmp_path: Path) -> None:
    meta = read_meta(chain()["ann"])
    second = altered(tmp_path / "a.safetensors", chain()["ann"], class_names=meta.class_names[::-1])
    with pytest.raises(ConfigError, match="class"):
        evaluate(config(tmp_path / "out", chain()["ann"], second, limit=1))


# --- going on -------------------------------------------------------------------------------------------------------


def test_resume_runs_only_the_networks_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    module = importlib.import_module("spikedet.commands.evaluate")  # the name in the package is the function
    plain = module.predict

    def counted(name: str, *rest: Any) -> Any:
        ran.append(name)
        return plain(name, *rest)

    monkeypatch.setattr(module, "predict", counted)
    first = evaluate(config(tmp_path / "a", t="2,4", limit=2))
    assert sorted(ran) == ["ann", "ann", "coarse", "copied", "fine", "qc"]
    (tmp_path / "a" / "results.json").unlink()
    for kept in (tmp_path / "a" / "detections").glob("coarse-*"):
        kept.write_bytes(kept.read_bytes()[:100])
    ran.clear()
    assert evaluate(config(tmp_path / "a", t="2,4", limit=2, resume=True)) == first
    assert ran == ["coarse"]
    ran.clear()
    kept = {"resume": True, "detections": str(tmp_path / "a" / "detections")}
    evaluate(config(tmp_path / "b", chain()["fine"], t="2,4", limit=2, **kept))
    assert ran == []
    evaluate(config(tmp_path / "a", t="2,4", limit=2, resume=True, mode="fast"))
    assert {"copied", "coarse", "fine"} <= set(ran)
    ran.clear()
    evaluate(config(tmp_path / "a", t="2,4"))
    assert len(ran) == 6

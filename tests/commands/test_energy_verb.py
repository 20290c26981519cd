"""spikedet energy on real checkpoints: what it counts, whose AP it shows, what it writes."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import IMAGE_SIZE, T, chain, sample_images

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.cli.main import main
from spikedet.commands.convert import convert
from spikedet.commands.energy import energy
from spikedet.commands.evaluate import evaluate
from spikedet.commands.report import report
from spikedet.common.errors import ConfigError, DataError
from spikedet.config import ConvertConfig, EnergyConfig, EvaluateConfig, ReportConfig
from spikedet.conversion import load_spiking
from spikedet.costs.report import EnergyReport
from spikedet.costs.synapses import fan_outs
from spikedet.data import load_dataset
from spikedet.data.transforms import to_input
from spikedet.snn import simulate

pytestmark = pytest.mark.slow


def run(out: Path, *stages: str, **how: Any) -> EnergyReport:
    settings = {"data": str(sample_images()), "split": "test", "batch": 3, **how}
    return energy(EnergyConfig(checkpoints=tuple(str(chain()[stage]) for stage in stages), out=str(out), **settings))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of the whole chain; not to be changed."""
    out = tmp_path_factory.mktemp("evaluated")
    fine = str(chain()["fine"])
    evaluate(
        EvaluateConfig(checkpoints=(fine,), data=str(sample_images()), split="test", t="2,4", draws=5, out=str(out))
    )
    return out


@pytest.mark.parametrize(("backend", "chunk"), [("native", 1), ("torch", 3)])
def test_operations_are_spikes_times_their_fan_out(backend: str, chunk: int, tmp_path: Path) -> None:
    """Against the dense spikes of every layer, one image at a time."""
    found = run(tmp_path, "fine", t="2,4", backend=backend, chunk=chunk)
    network, _ = load_spiking(chain()["fine"])
    dataset, maps = load_dataset(str(sample_images()), "test"), fan_outs(network, (IMAGE_SIZE, IMAGE_SIZE))
    sops = torch.zeros(len(dataset), T, dtype=torch.float64)
    for image in range(len(dataset)):
        spikes: dict[str, list[torch.Tensor]] = {}
        x = to_input([dataset.read_image(image)], IMAGE_SIZE)
        list(
            simulate(
                network, x, [T], T=T, watch=lambda node, piece, s=spikes: s.setdefault(node.name, []).append(piece)
            )
        )
        for name, pieces in spikes.items():
            fan_out = maps[name].maps.sum(0)[maps[name].groups]  # [C, H, W]
            sops[image] += ((torch.cat(pieces)[:, 0] != 0) * fan_out).sum((1, 2, 3))
    first, second = (row for row in found.rows if row.spent is not None and row.constants == "45 nm, float32")
    assert first.spent is not None and second.spent is not None
    assert (first.t, second.t) == (2, 4) and (first.macs, second.macs) == (8 * 3 * 9 * 32 * 32,) * 2
    assert first.spent.sops == pytest.approx(sops[:, :2].sum(1).mean().item(), rel=1e-12)
    assert second.spent.sops == pytest.approx(sops.sum(1).mean().item(), rel=1e-12)
    assert second.spent.sops_std == pytest.approx(sops.sum(1).std().item(), rel=1e-9)
    layers = found.networks[0].layers
    assert sum(sum(layer.sops) for layer in layers) == pytest.approx(second.spent.sops)
    assert all(len(layer.sops) == T for layer in layers)


def test_the_batch_changes_nothing(tmp_path: Path) -> None:
    one, all_at_once = (run(tmp_path / str(batch), "fine", batch=batch, limit=3) for batch in (1, 3))
    for a, b in zip(one.rows, all_at_once.rows, strict=True):
        assert a.joules == pytest.approx(b.joules, rel=1e-12)
        assert a.spent is None or a.spent.joules_std == pytest.approx(b.spent.joules_std, rel=1e-6)  # type: ignore[union-attr]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that were run over images, and on how many."""
    said: list[str] = []
    module = importlib.import_module("spikedet.commands.evaluate")  # the name in the package is the function
    plain = module.predict

    def counted(name: str, network: Any, dataset: Any, *rest: Any) -> Any:
        said.append(f"{name} on {len(dataset)}")
        return plain(name, network, dataset, *rest)

    for name in ("evaluate", "energy"):
        monkeypatch.setattr(importlib.import_module(f"spikedet.commands.{name}"), "predict", counted)
    return said


def test_operations_are_those_that_an_evaluation_has_counted(evaluated: Path, tmp_path: Path, ran: list[str]) -> None:
    """The figures of a run of its own, digit by digit, without one."""
    priced = run(tmp_path / "a", "fine", "copied", t="2,4", results=str(evaluated))
    assert ran == []
    results = json.loads((evaluated / "results.json").read_text("utf-8"))
    for row in results["rows"]:
        row.pop("operations", None)  # as in results of earlier versions
    (tmp_path / "results.json").write_text(json.dumps(results), "utf-8")
    own = run(tmp_path / "b", "fine", "copied", t="2,4", results=str(tmp_path))
    assert ran == ["operations on 4"] * 2
    assert (priced.rows, priced.networks) == (own.rows, own.networks)


def test_other_images_than_those_evaluated_are_counted_anew(evaluated: Path, tmp_path: Path, ran: list[str]) -> None:
    first = run(tmp_path / "a", "fine", t="4", limit=2, results=str(evaluated))
    assert ran == ["operations on 2"] and first.images == 2
    whole = run(tmp_path / "b", "fine", t="4", results=str(evaluated))
    a, b = (next(row for row in found.rows if row.spent) for found in (first, whole))
    assert a.AP == b.AP is not None and a.joules != b.joules


def test_without_an_evaluation_the_networks_are_evaluated_and_counted_in_one_run(
    tmp_path: Path, ran: list[str]
) -> None:
    found = run(tmp_path, "fine", t="2,4")
    assert ran == ["ann on 4", "ann on 4", "qc on 4", "fine on 4"]
    rows = json.loads((tmp_path / "results.json").read_text("utf-8"))["rows"]
    assert {(row.network, row.t) for row in found.rows if row.AP is None} == set()
    fine = {row["t"]: row for row in rows if row["stage"] == "fine"}
    for row in found.rows:
        if row.spent is not None:
            assert row.spent.spikes == fine[row.t]["spikes_per_image"] and row.loss is not None
    assert run(tmp_path, "fine", t="2,4", constants="45nm_int8").rows[0].AP is not None
    assert len(ran) == 4  # other constants need no other run


@pytest.mark.parametrize("how", [{"delay": 2}, {"neuron": "signed", "delay": 1}], ids=str)
def test_neurons_and_delays(how: dict[str, Any], tmp_path: Path) -> None:
    convert(ConvertConfig(checkpoint=str(chain()["qc"]), out=str(tmp_path), **how))
    rows = energy(
        EnergyConfig(
            checkpoints=(str(tmp_path / "copied.safetensors"),),
            data=str(sample_images()),
            split="test",
            limit=2,
            t="2,4",
            out=str(tmp_path),
        )
    ).rows
    two, four = (row for row in rows if row.spent and row.constants == "45 nm, float32")
    assert 0 < two.spent.sops < four.spent.sops  # type: ignore[union-attr]
    assert two.L is not None and four.L is not None
    assert four.L - two.L == 2 and (four.L > 4) == bool(how.get("delay"))
    assert all(str(value) in two.network for value in how.values())


# --- AP beside it ---------------------------------------------------------------------------------------------------


def aps(found: EnergyReport) -> dict[tuple[str, int | None], float | None]:
    return {(row.network, row.t): row.AP for row in found.rows}


def test_ap_of_an_evaluation(evaluated: Path, tmp_path: Path) -> None:
    rows = json.loads((evaluated / "results.json").read_text("utf-8"))["rows"]
    found = run(tmp_path, "fine", t="2,4", results=str(evaluated))
    stored = {(row["stage"], row["finetuned"], row["t"]): row["AP"] for row in rows}
    assert aps(found) == {
        ("ANN", None): stored["ann", False, None],
        ("clip ANN after Stage I", None): stored["ann", True, None],
        ("QC-ANN", None): stored["qc", True, T],
        ("SNN + coarse + fine, if", 2): stored["fine", True, 2],
        ("SNN + coarse + fine, if", 4): stored["fine", True, 4],
    }
    assert found.ap_source == "results.json, on all 4 images of images test"


def test_ap_beside_the_weights_and_in_the_output_folder(evaluated: Path, tmp_path: Path) -> None:
    weights = tmp_path / "given.safetensors"
    weights.write_bytes(chain()["fine"].read_bytes())
    weights.with_suffix(".json").write_bytes((evaluated / "results.json").read_bytes())
    how = {"checkpoints": (str(weights),), "data": str(sample_images()), "split": "test", "limit": 1}
    assert energy(EnergyConfig(out=str(tmp_path / "a"), **how)).ap_source.startswith("given.json, on all 4")  # type: ignore[arg-type]
    weights.with_suffix(".json").unlink()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.json").write_bytes((evaluated / "results.json").read_bytes())
    assert energy(EnergyConfig(out=str(tmp_path / "b"), **how)).ap_source.startswith("results.json")  # type: ignore[arg-type]


def test_ap_of_another_file_is_left_out(evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network calibrated anew, with the settings of the one that was evaluated."""
    tensors, meta = load_checkpoint(chain()["fine"])
    again = save_checkpoint(tmp_path / "fine.safetensors", tensors, dataclasses.replace(meta, notes={}))
    how = {"data": str(sample_images()), "split": "test", "limit": 1, "t": "4", "out": str(tmp_path)}
    files = (str(again), str(chain()["fine"]))
    found = energy(EnergyConfig(checkpoints=files, results=str(evaluated), **how))  # type: ignore[arg-type]
    rows = json.loads((evaluated / "results.json").read_text("utf-8"))["rows"]
    (evaluated,) = (row["AP"] for row in rows if row["stage"] == "fine" and row["t"] == 4)
    names = [f"SNN + coarse + fine, if, {file.parent.name}/fine.safetensors" for file in map(Path, files)]
    assert {network: AP for (network, t), AP in aps(found).items() if t == 4} == {names[0]: None, names[1]: evaluated}
    told = f"{again}: not the file that was evaluated in results.json, on all 4 images of images test; AP is left out"
    assert told in capsys.readouterr().out
    assert {row.AP for row in found.rows if row.t is None} == {row["AP"] for row in rows if row["t"] in (None, T)} - {
        row["AP"] for row in rows if row["neuron"]
    }  # the ANNs are those that both were made from


def test_results_that_name_no_checkpoints_have_no_ap(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = json.loads((evaluated / "results.json").read_text("utf-8"))
    older["rows"] = [{k: v for k, v in row.items() if k not in ("checkpoint", "parent")} for row in older["rows"]]
    (tmp_path / "results.json").write_text(json.dumps(older), "utf-8")
    assert set(aps(run(tmp_path, "fine", limit=1)).values()) == {None}
    assert "results.json: an earlier version wrote it and named no row's checkpoint" in capsys.readouterr().out


def test_ap_on_other_images_is_left_out(evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path, "fine", split="val", limit=1, results=str(evaluated))
    assert set(aps(found).values()) == {None} and found.ap_source == ""
    assert "results.json: its AP is on images test; AP is left out" in capsys.readouterr().out


# --- files ----------------------------------------------------------------------------------------------------------


def test_what_it_writes(evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(tmp_path, "fine", "ann", limit=2, results=str(evaluated))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "energy.json", "energy.md", "energy.png", "energy_by_layer.png",
    ]  # fmt: skip
    content = json.loads((tmp_path / "energy.json").read_text("utf-8"))
    assert content["images"] == 2 and len(content["rows"]) == len(found.rows)
    assert content["rows"][-1]["spent"]["sops"] == found.rows[-1].spent.sops  # type: ignore[union-attr]
    assert content["constants"][0]["mac_pj"] == 4.6 and set(content["meta"]) >= {"versions", "config", "checkpoints"}
    out = capsys.readouterr().out
    assert "| SNN + coarse + fine, if |" in out and "Memory traffic is not in these figures" in out


def test_it_goes_into_the_report(evaluated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "results.json").write_bytes((evaluated / "results.json").read_bytes())
    run(folder, "fine", limit=1)
    page = report(ReportConfig(run=str(folder), examples=0)).read_text("utf-8")
    section = page[page.index("<h2>Energy</h2>") :]
    assert (
        len(re.findall(r'<img alt="(?:Energy by time step, and AP against energy|Operations by layer)"', section)) == 2
    )
    assert "<th" in section and "of the quantized ANN, %" in section and "<h1>Energy" not in section


def test_an_ann_alone_needs_no_images(tmp_path: Path) -> None:
    found = energy(EnergyConfig(checkpoints=(str(chain()["ann"]),), data="nowhere", out=str(tmp_path)))
    assert found.images == 0 and found.networks == ()
    assert [(row.network, row.constants) for row in found.rows] == [
        ("ANN", "45 nm, float32"), ("quantized ANN", "45 nm, int8"),
    ]  # fmt: skip
    assert found.rows[0].macs == 823808  # that torch counts as many is tested in test_macs
    assert {path.name for path in tmp_path.iterdir()} == {"energy.json", "energy.md", "energy.png"}


def test_a_qc_ann_alone_costs_the_same(tmp_path: Path) -> None:
    ann, qc = (
        energy(EnergyConfig(checkpoints=(str(chain()[stage]),), out=str(tmp_path))).rows for stage in ("ann", "qc")
    )
    assert ann == qc


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_time_steps_beyond_every_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--t 9 lies beyond the T of every network; choose smaller time steps"):
        run(tmp_path, "fine", t="9")


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"constants": "5nm"}, ConfigError, "energy constants '5nm' not found"),
        ({"quantized": "45nm_int8_sum32", "memory_traffic": True}, ConfigError, "it has no model of memory traffic"),
        ({"results": "nowhere"}, ConfigError, "no results.json here"),
        ({"split": "gone"}, DataError, "gone"),
    ],
)
def test_settings_that_cannot_be(how: dict[str, Any], error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        run(tmp_path, "fine", **how)
    assert list(tmp_path.iterdir()) == []


def test_two_tables_of_one_name_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "mine.yaml"
    other.write_text("name: 45 nm, float32\nsource: me\nmac_pj: 1\nac_pj: 1\n", "utf-8")
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: its name, '45 nm, float32', is that of 45nm_float; name it anew"
    ):
        run(tmp_path, "fine", quantized=str(other))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--data",
        str(sample_images()),
        "--split",
        "test",
        "--limit",
        "1",
        "--memory-traffic",
    ]
    assert main(["energy", str(chain()["fine"]), *flags, "--out", str(tmp_path)]) == 0
    assert "mJ, image in every step" in capsys.readouterr().out
    assert main(["energy", str(tmp_path / "gone.safetensors")]) == 1
    assert "spikedet energy: " in capsys.readouterr().err

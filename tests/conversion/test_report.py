"""The dry run: every layer named, and what cannot spike with what to use instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_detector import ARCHITECTURE, chain

from spikedet.cli.main import main
from spikedet.common.errors import ConfigError
from spikedet.conversion.report import HEAD, as_text, report
from spikedet.models.architecture import read_model_yaml

pytestmark = pytest.mark.slow


def model_yaml(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**ARCHITECTURE, **changes}))
    return path


def test_a_source_is_told_layer_by_layer() -> None:
    lines = {line.name: line for line in report(chain()["ann"])}
    first, added = lines["model.0"], lines["model.4.add"]
    assert (first.kind, first.rule, first.fan_in, first.supported) == ("Conv", "IF neurons", 27, True)
    assert first.theta.endswith("]") and first.theta != "-"
    assert (added.kind, added.rule, added.fan_in) == ("Add", "summed, step by step", None)
    assert (lines["model.5"].rule, lines["model.6"].rule) == ("repeated, step by step", "joined, step by step")
    assert lines["model.8.cv2.0.2"].rule == "mean potential, read out"
    assert all(line.supported for line in lines.values())


@pytest.mark.parametrize("stage", ["qc", "fine"])
def test_later_stages_have_the_same_layers(stage: str) -> None:
    assert [line.name for line in report(chain()[stage])] == [line.name for line in report(chain()["ann"])]


def test_settings_show(tmp_path: Path) -> None:
    path = model_yaml(tmp_path)
    assert report(path, neuron="signed", delay=2)[0].rule == "signed IF neurons, delay 2"
    assert report(path, activation="leaky")[0].rule == "asymmetric IF neurons, slope 0.1"
    assert report(path)[0].theta == ""


def test_maxima_show_their_rule(tmp_path: Path) -> None:
    rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.MaxPool2d", [2, 2]]]
    path = model_yaml(tmp_path, backbone=rows, head=[[[-1], 1, "Detect", ["nc"]]])
    assert report(path, max_pool="or")[1].rule == "maximum by or"


def test_an_activation_that_cannot_spike_is_said_at_every_layer_that_has_it(tmp_path: Path) -> None:
    lines = report(model_yaml(tmp_path, activation="torch.nn.SiLU()"))
    refused = [line for line in lines if not line.supported]
    assert {line.kind for line in refused} == {"Conv"}
    assert all("train with --activation clip or leaky" in line.rule for line in refused)
    assert any(line.supported for line in lines)


def test_modules_without_a_rule_are_listed_with_what_to_use_instead(tmp_path: Path) -> None:
    rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "C2PSA", [8]], [-1, 1, "os.system", ["true"]]]
    lines = report(model_yaml(tmp_path, backbone=rows))
    assert [line.supported for line in lines][:3] == [True, False, False]
    assert lines[1].rule == "attention has no spiking form here; leave it out, as yolov8 does"
    assert lines[2].rule.startswith("use Conv")


def test_an_inner_layer_that_cannot_spike_stands_at_its_place(tmp_path: Path) -> None:
    """A C3k2 of the newest kind has attention after its bottleneck."""
    rows = [*[[-1, 1, "Conv", [8, 3, 2]]] * 4, [-1, 1, "C3k2", [8, False, 0.5, True]]]
    lines = report(model_yaml(tmp_path, backbone=rows, head=[[[-1], 1, "Detect", ["nc"]]]))
    refused = [line for line in lines if not line.supported]
    assert [(line.name, line.kind) for line in refused] == [("model.4.m.0.1", "PSABlock")]
    assert "attention has no spiking form here" in refused[0].rule
    names = [line.name for line in lines]
    assert names.index("model.4.m.0.0.cv2") < names.index("model.4.m.0.1") < names.index("model.4.cv2")


def test_linear_layers_are_named_in_words(tmp_path: Path) -> None:
    """An SPPF of the newer kind pools a convolution without activation."""
    rows = [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "SPPF", [8, 5, 3, False]], [[-1, 0], 1, "Add", []]]
    path = model_yaml(tmp_path, backbone=rows, head=[[[-1], 1, "DirectDetect", ["nc"]]])
    spiking, analog = ({line.name: line for line in report(path, linear=how)} for how in ("spiking", "analog"))
    assert spiking["model.1.cv1"].rule == "asymmetric IF neurons, slope 1 (linear layer)"
    assert analog["model.1.cv1"].rule == "no neurons (linear layer)"
    assert analog["model.1.cv1"].fan_in == spiking["model.1.cv1"].fan_in == 8
    assert analog["model.1.cv2"].rule == spiking["model.1.cv2"].rule == "IF neurons"
    assert (spiking["model.2"].kind, spiking["model.2"].rule) == ("Add", "summed, step by step")
    assert spiking["model.3.cv2.0.0"].rule == "mean potential, read out"
    assert all(line.supported for line in [*spiking.values(), *analog.values()])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": None}, "backbone and head must be lists of layers"),
        ({"head": 5}, "backbone and head must be lists of layers"),
        ({"nc": "x"}, "nc must be a positive number, at most 100000, got 'x'"),
        ({"nc": None}, "nc must be a positive number, at most 100000, got None"),
        ({"nc": 100_001}, "nc must be a positive number, at most 100000, got 100001"),
        ({"nc": 10**400}, "nc must be a positive number, at most 100000, got a huge number"),
        ({"scale": ["n"]}, "there is no scale a list; expected one of none"),
        ({"ends": 1}, "unknown key 'ends'; known keys are"),
    ],
    ids=str,
)
def test_a_malformed_model_is_refused_in_one_sentence(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: {message}"):
        report(model_yaml(tmp_path, **changes))


def test_columns_line_up() -> None:
    text = as_text(report(chain()["ann"])).splitlines()
    start = text[0].index(HEAD[2])
    assert text[0].split() == list(HEAD)
    assert all(line[start - 1] == " " and line[start] != " " for line in text)


@pytest.mark.parametrize("name", ["yolov5n.yaml", "yolov8n.yaml"])
def test_the_exit_status_tells(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", name, "--dry-run", "--activation", "clip"]) == 0
    shown = capsys.readouterr().out
    assert "unsupported" not in shown
    assert main(["convert", name, "--dry-run"]) == 1
    printed = capsys.readouterr()
    assert "unsupported: the activation SiLU" in printed.out
    assert "layers cannot spike: model.0" in printed.err
    assert read_model_yaml(name)[0].get("activation") is None


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(chain()["ann"]), "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []

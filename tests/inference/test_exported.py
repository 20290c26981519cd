"""Exported files as networks: the same predictions as those of the checkpoints that they came from."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import IMAGE_SIZE, T, chain, sample_images
from torch import Tensor

from spikedet import SpikingDetector
from spikedet.commands.detect import detect
from spikedet.commands.evaluate import evaluate
from spikedet.commands.export import export
from spikedet.common.digests import file_sha256
from spikedet.common.errors import CheckpointError, ConfigError
from spikedet.config import DetectConfig, EvaluateConfig, ExportConfig, SimulationConfig
from spikedet.exports.check import difference
from spikedet.exports.subject import Outputs
from spikedet.inference.exported import ExportedNetwork
from spikedet.inference.network import checkpoint_sha256, load_network, require_steps, spiking_graph
from spikedet.models.postprocess import to_detections

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime")


@cache
def exported(stage: str, suffix: str = ".onnx", **settings: Any) -> Path:
    """An exported checkpoint of the chain, made on first use."""
    name = "-".join([stage, *map(str, settings.values())]).replace(",", "_")
    path = chain().folder / "exported" / f"{name}{suffix}"
    to = {".onnx": "onnx", ".xml": "openvino"}[suffix]
    return export(ExportConfig(checkpoint=str(chain()[stage]), out=str(path), **{"to": to, "images": 2, **settings}))


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("stage", "steps", "suffix"),
    [
        ("ann", [], ".onnx"),
        ("qc", [], ".onnx"),
        ("fine", [2, T], ".onnx"),
        ("ann", [], ".xml"),
        ("fine", [2, T], ".xml"),
    ],
)
def test_a_file_predicts_what_its_checkpoint_does(stage: str, steps: list[int], suffix: str) -> None:
    if suffix == ".xml":
        pytest.importorskip("openvino")
    settings = {"t": f"2,{T}"} if steps else {}
    network, original = load_network(exported(stage, suffix, **settings)), load_network(chain()[stage])
    assert isinstance(network, ExportedNetwork)
    found, expected = network(images(), steps), original(images(), steps)
    assert list(found) == list(expected)
    for t, prediction in expected.items():
        apart = difference(*({t: Outputs(p.decoded, p.spikes)} for p in (found[t], prediction)))
        assert apart.mean_score < 1e-3
        assert apart.spikes in ((None, 0) if suffix == ".onnx" else (None, *range(20)))


def test_what_a_file_says_of_itself() -> None:
    path = exported("fine", t=f"2,{T}")
    network, original = load_network(path), load_network(chain()["fine"])
    assert network.meta.class_names == original.meta.class_names
    assert (network.meta.image_size, network.meta.T, network.meta.stage) == (IMAGE_SIZE, T, "fine")
    assert network.meta.model == "tiny (onnx)"
    assert network.meta.parent == {"file": "fine.safetensors", "sha256": file_sha256(chain()["fine"]), "stage": "fine"}
    assert [network.latency(t) for t in (2, T)] == [original.latency(t) for t in (2, T)]
    assert network.neurons() is network.ann_macs() is None
    assert network.describe(1) == "onnxruntime on the CPU, 1 thread"
    assert str(chain().folder) not in path.read_bytes().decode("latin-1")
    assert checkpoint_sha256(path) == file_sha256(path)


def test_steps_are_those_of_the_file() -> None:
    network = load_network(exported("fine", t=f"2,{T}"))
    assert network.steps([]) == [2, T]
    assert network.steps([1, 2, 3]) == [2]
    with pytest.raises(ConfigError, match=rf"gives outputs at t = 2, {T}; export it again with --t"):
        network.steps([1])
    with pytest.raises(ConfigError, match=r"not at \[3\]; export it with --t"):
        require_steps(network, [2, 3])
    with pytest.raises(ConfigError, match=r"must lie in 1\.\.T"):
        require_steps(network, [T + 1])
    assert load_network(exported("qc")).steps([2]) == [0]


def test_boxes_after_suppression_are_the_same_detections() -> None:
    made = load_network(exported("fine", boxes="nms", confidence=0.3))(images())[T].decoded
    raw = load_network(exported("fine", t=f"2,{T}"))(images(), T)[T].decoded
    sizes = [(IMAGE_SIZE, IMAGE_SIZE)] * 2
    for found, expected in zip(*(to_detections(p, IMAGE_SIZE, sizes, 0.3) for p in (made, raw)), strict=True):
        assert len(expected) > 3
        assert len(found) == len(expected)
        torch.testing.assert_close(torch.tensor(found.scores), torch.tensor(expected.scores))


def test_other_devices_files_and_uses_are_refused(tmp_path: Path) -> None:
    path = exported("qc")
    with pytest.raises(ConfigError, match=r"--device cuda:0: .* runs on the CPU"):
        load_network(path, SimulationConfig(device="cuda:0"))
    with pytest.raises(CheckpointError, match=r"an exported file, which spikedet evaluate and detect run"):
        spiking_graph(path)
    with pytest.raises(CheckpointError, match=r"expected one that ends in \.onnx or \.xml"):
        ExportedNetwork(tmp_path / "x.nir")
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(CheckpointError, match=r"x\.onnx: no whole ONNX file"):
        load_network(tmp_path / "x.onnx")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        SpikingDetector.load(tmp_path / "nothing.onnx")


def test_outputs_that_are_no_predictions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network(exported("qc"))
    with pytest.raises(CheckpointError, match="its outputs are no boxes and scores"):
        network(images() * torch.nan)
    with monkeypatch.context() as patch:
        patch.setattr(network, "_run", lambda _: {0: Outputs(torch.zeros(2, 7, 5))})
        with pytest.raises(CheckpointError, match="its outputs are no boxes and scores"):
            network(images())
    with monkeypatch.context() as patch:
        patch.setattr(network, "_run", lambda _: {0: Outputs(detections=[torch.full((1, 6), 99.0)] * 2)})
        with pytest.raises(CheckpointError, match=r"qc\.onnx: its outputs do not fit each other"):
            network(images())


@pytest.mark.slow
def test_evaluate_and_detect_run_a_file_as_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "shipped.onnx"
    shutil.copy(exported("fine", t=f"2,{T}"), path)
    how: dict[str, Any] = {"data": str(sample_images()), "split": "val", "t": f"2,{T}", "draws": 10}
    checkpoints = (str(path), str(chain()["fine"]))
    rows = evaluate(EvaluateConfig(checkpoints=checkpoints, **how, out=str(tmp_path / "run")), chain=False)
    files = {row.t: row for row in rows if row.model == "tiny (onnx)"}
    others = {row.t: row for row in rows if row.model == "tiny" and row.stage == "fine"}
    assert files.keys() == others.keys() == {2, T}
    for t, row in files.items():
        other = others[t]
        assert pytest.approx(other.AP, abs=1e-3) == row.AP
        assert row.spikes_per_image == pytest.approx(other.spikes_per_image)
        assert (row.L, row.parent) == (other.L, other.checkpoint)
    found = {}
    for name, weights in {"file": path, "network": chain()["fine"]}.items():
        source = sorted((sample_images() / "JPEGImages").glob("val*"))[:2]
        config = DetectConfig(
            source=tuple(map(str, source)), weights=str(weights), t=f"2,{T}", out=str(tmp_path / name)
        )
        found[name] = json.loads(detect(config).read_text())
    assert found["file"].keys() == found["network"].keys()
    for key, by_step in found["file"].items():
        for t, records in by_step.items():
            assert len(records) == len(found["network"][key][t])

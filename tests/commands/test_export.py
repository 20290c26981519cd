"""The command: every stage in every format, run by its engine; refusals; nothing is left of what failed."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_detector import IMAGE_SIZE, chain, sample_images

import spikedet
from spikedet import SpikingDetector
from spikedet.checkpoint import CheckpointMeta, save_checkpoint
from spikedet.commands import export as command
from spikedet.common.errors import CheckpointError, ConfigError, ExportError
from spikedet.data.transforms import to_input
from spikedet.exports import Outputs, format_of
from spikedet.inference.network import load_network
from spikedet.models import build_detector, load_model_yaml
from spikedet.models.postprocess import suppressed

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime")


def images(count: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(5)
    return to_input([rng.integers(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8) for _ in range(count)], IMAGE_SIZE)


def exported(stage: str, folder: Path, **how: Any) -> tuple[Path, dict[int, Outputs]]:
    """A stage of the chain exported, and its outputs on images that the check has not seen."""
    to = how.setdefault("to", "onnx")
    out = folder / f"net{'.xml' if to == 'openvino' else '.onnx'}"
    assert spikedet.export(chain()[stage], out=out, **how) == out
    return out, dict(format_of(to, out).run(out)(images()))


@pytest.mark.parametrize(("stage", "to"), [("ann", "onnx"), ("qc", "openvino"), ("fine", "onnx")])
def test_every_stage_has_the_outputs_of_the_network(stage: str, to: str, tmp_path: Path) -> None:
    """tests/inference/test_exported.py runs every stage in both formats."""
    if to == "openvino":
        pytest.importorskip("openvino")
    t = "2,4" if stage == "fine" else ""
    _, found = exported(stage, tmp_path, to=to, t=t)
    expected = load_network(chain()[stage])(images(), [2, 4] if t else [])
    assert list(found) == list(expected)
    for step, outputs in found.items():
        assert outputs.decoded is not None
        torch.testing.assert_close(outputs.decoded, expected[step].decoded, rtol=0, atol=1e-3)
        assert (outputs.spikes is None) == (expected[step].spikes is None)
        if outputs.spikes is not None:
            assert torch.equal(outputs.spikes, expected[step].spikes)


@pytest.mark.parametrize(("stage", "t"), [("ann", 0), ("fine", 4)])
def test_boxes_in_the_file_are_those_of_the_network(stage: str, t: int, tmp_path: Path) -> None:
    expected = load_network(chain()[stage])(images())[t].decoded
    _, found = exported(stage, tmp_path, boxes="all", unroll=t > 0)
    torch.testing.assert_close(found[t].decoded, expected, rtol=0, atol=1e-3)
    _, found = exported(stage, tmp_path, boxes="nms", confidence=0.3, iou=0.5)
    kept = suppressed(expected, 0.3, 0.5)
    assert sum(map(len, kept)) > 10 and found[t].detections is not None
    for rows, other in zip(found[t].detections, kept, strict=True):
        torch.testing.assert_close(rows[:, 4:], other[:, 4:], rtol=0, atol=1e-4)
        torch.testing.assert_close(rows[:, :4], other[:, :4], rtol=0, atol=1e-2)


@pytest.mark.parametrize(("to", "precision"), [("onnx-int8", "fp32"), ("openvino", "int8")])
def test_eight_bits_are_near_the_network(to: str, precision: str, tmp_path: Path) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    _, found = exported("qc", tmp_path, to=to, precision=precision)
    expected = load_network(chain()["qc"])(images())[0].decoded
    assert found[0].decoded is not None
    spread = (expected[:, 4:] - expected[:, 4:].mean()).abs().mean()
    assert 0 < float((found[0].decoded - expected)[:, 4:].abs().mean()) < 0.6 * float(spread)


@pytest.mark.parametrize("to", ["onnx", "onnx-int8"])
def test_linear_layers_without_levels(to: str, tmp_path: Path) -> None:
    """Stage I gives them none; a file of 8 bits has a range for them."""
    architecture = {**load_model_yaml("tiny-yolo-csp-nano"), "activation": "torch.nn.ReLU()"}
    meta = CheckpointMeta("qc", "csp", architecture, ("cell", "dot"), 64, T=4, linear="analog")
    torch.manual_seed(0)
    model = build_detector(architecture, meta.class_names, theta=2.0).eval()
    qc = save_checkpoint(tmp_path / "qc.safetensors", model.state_dict(), meta)
    out = spikedet.export(qc, out=tmp_path / "net.onnx", to=to)
    x = torch.rand(2, 3, 64, 64)
    decoded, expected = format_of(to, out).run(out)(x)[0].decoded, load_network(qc)(x)[0].decoded
    assert decoded is not None
    torch.testing.assert_close(decoded[:, 4:], expected[:, 4:], rtol=0, atol=1e-3 if to == "onnx" else 0.05)


def test_what_is_printed_and_what_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "spikedet"):
        exported("ann", tmp_path, data=sample_images(), split="val", images=2)
    assert "operators" in caplog.text and "largest difference: boxes" in caplog.text and "on 2 images" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_a_detector_in_memory(tmp_path: Path) -> None:
    out = spikedet.export(SpikingDetector.load(chain()["fine"]), out=tmp_path / "a.onnx")
    assert out.stat().st_size > 1000


def test_a_file_that_computes_something_else_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_network(chain()["ann"])
    with torch.no_grad():
        other.model.model[-1].cv3[0][-1].bias += 1.0  # type: ignore[attr-defined]
    monkeypatch.setattr(command, "load_network", lambda *_: other)
    with pytest.raises(ExportError, match=r"a\.onnx: the exported file differs from the network: largest difference"):
        spikedet.export(chain()["ann"], out=tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("stage", "how", "message"),
    [
        ("ann", {"out": "a.xml"}, r"--out a\.xml: expected a file that ends in \.onnx for --to onnx"),
        ("ann", {"t": 4}, "an ANN has no time steps; leave out --t and --unroll"),
        ("ann", {"unroll": True}, "an ANN has no time steps"),
        ("fine", {"t": 9}, "--t 9: the network was converted for T = 4"),
        ("ann", {"to": "onnx-int8"}, r"onnx-int8 takes a QC-ANN \(spikedet finetune\), got stage ann"),
        ("fine", {"to": "onnx-int8"}, "onnx-int8 takes a QC-ANN .*, got stage fine"),
        ("ann", {"to": "openvino", "precision": "int8", "out": "a.xml"}, "openvino int8 takes a QC-ANN"),
        ("qc", {"precision": "int8"}, "--precision has no effect with --to onnx; .* use --to onnx-int8"),
        ("ann", {"iou": 0.5}, "iou has no effect without --boxes"),
    ],
)
def test_what_does_not_fit_is_said(
    stage: str, how: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        spikedet.export(chain()[stage], **{"out": "a.onnx", **how})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"exports need the package onnxruntime .*; pip install 'spikedet\[export\]'"):
        spikedet.export(chain()["ann"], out=tmp_path / "a.onnx")


def test_damaged_openvino_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    out, _ = exported("ann", tmp_path, to="openvino")
    run = format_of("openvino", out).run
    text = out.read_text("utf-8")
    out.write_text(text[: len(text) // 2], "utf-8")
    with pytest.raises(CheckpointError, match=r"net\.xml: no whole OpenVINO file"):
        run(out)
    out.write_text(text.replace("<spikedet ", "<other "), "utf-8")
    with pytest.raises(CheckpointError, match=r"net\.xml: not exported by spikedet"):
        run(out)
    out.with_suffix(".bin").unlink()
    with pytest.raises(CheckpointError, match=r"net\.bin: no such file"):
        run(out)


def test_openvino_sends_nothing(tmp_path: Path) -> None:
    """Its telemetry is never imported, and nothing asks for an address."""
    pytest.importorskip("openvino")
    program = """
import json, socket, sys
asked = []
def refused(*arguments, **_):
    asked.append(str(arguments))
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refused
import spikedet
spikedet.export(sys.argv[1], to="openvino", out=sys.argv[2])
loaded = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]
print(json.dumps([asked, loaded]))
"""
    command = [sys.executable, "-c", program, str(chain()["ann"]), str(tmp_path / "a.xml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[], []]


def test_spikingjelly_has_two_files_and_the_spikes_of_the_network(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("spikingjelly")
    with caplog.at_level(logging.INFO, "spikedet"):
        spikedet.export(chain()["fine"], to="spikingjelly", out=tmp_path / "net.py", t="2,4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net-weights.safetensors", "net.py"]
    assert "spikes of an image 0" in caplog.text
    with pytest.raises(ConfigError, match="--boxes has no effect with --to spikingjelly"):
        spikedet.export(chain()["fine"], to="spikingjelly", out=tmp_path / "net.py", boxes="all")


def test_nir_refuses_the_detector_by_name_and_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("nir")
    with pytest.raises(
        ExportError, match=r"model\.0 \(and \d+ more\): .*--T 1.*; model\.5: NIR has no node for Upsample"
    ):
        spikedet.export(chain()["fine"], to="nir", out=tmp_path / "net.nir")
    assert list(tmp_path.iterdir()) == []

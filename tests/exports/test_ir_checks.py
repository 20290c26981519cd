"""OpenVINO files that others may have written: refused before OpenVINO reads or compiles them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from tiny_detector import IMAGE_SIZE, chain

from spikedet.commands.export import export
from spikedet.common.errors import CheckpointError
from spikedet.config import ExportConfig
from spikedet.exports.ir_checks import extent_of, require_plain
from spikedet.exports.onnx_checks import checked
from spikedet.exports.onnx_extent import extent_of as onnx_extent_of
from spikedet.exports.openvino_file import read

openvino = pytest.importorskip("openvino")
onnx = pytest.importorskip("onnx")

Change = Callable[[str], str]


@cache
def good() -> Path:
    folder = chain().folder / "checked"
    for to, suffix in (("openvino", ".xml"), ("onnx", ".onnx")):
        export(ExportConfig(checkpoint=str(chain()["qc"]), out=str(folder / f"net{suffix}"), to=to, images=1))  # type: ignore[arg-type]
    return folder / "net.xml"


def changed(change: Change, folder: Path) -> Path:
    path = folder / "net.xml"
    shutil.copy(good().with_suffix(".bin"), path.with_suffix(".bin"))
    path.write_text(change(good().read_text("utf-8")), "utf-8")
    return path


def test_a_good_file_passes_and_runs() -> None:
    require_plain(good())
    meta, run = read(good())
    assert meta.to == "openvino"
    decoded = run(torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE))[0].decoded
    assert decoded is not None
    assert decoded.shape[:2] == (2, 8)


def test_the_extent_is_that_of_the_onnx_file() -> None:
    model = openvino.Core().read_model(good())
    model.reshape({"image": [1, 3, IMAGE_SIZE, IMAGE_SIZE]})
    found = extent_of(model, IMAGE_SIZE)
    content, _ = checked(good().with_suffix(".onnx"))
    expected = onnx_extent_of(onnx.ModelProto.FromString(content), IMAGE_SIZE)
    assert found.operations == pytest.approx(expected.operations, rel=0.1)
    assert found.parameters == pytest.approx(expected.parameters, rel=0.3)


def replaced(old: str, new: str) -> Change:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced('type="Convolution"', 'type="Loop"'), "the layer 'Loop' is none"),
        (replaced('type="Convolution" version="opset1"', 'type="Convolution" version="mine"'), "is none of those"),
        (replaced("<net", '<!DOCTYPE a [<!ENTITY b "c">]><net'), "defines entities"),
        (replaced('id="0" name="image"', 'id="1" name="image"'), "two of one number"),
        (replaced("</layers>", "<layer id='a'><layer/></layer></layers>"), "layers in layers"),
        (replaced('to-port="0"', 'to-port="x"'), "not a file that spikedet has exported"),
        (lambda text: text[:-100], "no whole OpenVINO file"),
        (lambda _: "", "no whole OpenVINO file"),
        (lambda _: "<net/>", "not exported by spikedet|OpenVINO cannot run it"),
    ],
)
def test_what_exports_do_not_have_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    path = changed(change, tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_shapes_of_large_constants_are_refused(tmp_path: Path) -> None:
    path = changed(lambda text: text, tmp_path)
    content = bytearray(path.with_suffix(".bin").read_bytes())
    for number in (2**40, 2**62):
        tree = path.read_text("utf-8")
        offset = int(tree.split('element_type="i64"')[1].split('offset="')[1].split('"')[0])
        content[offset : offset + 8] = number.to_bytes(8, "little")
        path.with_suffix(".bin").write_bytes(content)
        with pytest.raises(CheckpointError, match="a shape has a side beyond"):
            require_plain(path)

"""ONNX files that others may have written: one sentence before an engine sees them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from spikedet.checkpoint import CheckpointMeta
from spikedet.common.errors import CheckpointError
from spikedet.config import ExportConfig
from spikedet.exports import Subject
from spikedet.exports.metadata import KEY
from spikedet.exports.onnx_checks import checked
from spikedet.exports.onnx_extent import extent_of
from spikedet.exports.onnx_file import read
from spikedet.exports.onnx_model import onnx_model
from spikedet.snn import IMAGE, Node, Readout, SpikingNetwork
from spikedet.snn.operations import Upsample

sys.path.append(str(Path(__file__).parent.parent / "snn"))
from snn_reference import dyadic, spiking_conv

SIZE, T = 16, 3
Change = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def good() -> onnx.ModelProto:
    torch.manual_seed(0)
    nodes = [
        Node("stem", (IMAGE,), spiking_conv(3, 4, stride=2)),
        Node("deep", ("stem",), spiking_conv(4, 4, neuron="signed")),
        Node("up", ("deep",), Upsample(2)),
        Node("box", ("up",), Readout(dyadic(16, 4, 1, 1), dyadic(16), stride=(2, 2), padding=(0, 0))),
        Node("class", ("deep",), Readout(dyadic(2, 4, 1, 1), dyadic(2), stride=(1, 1), padding=(0, 0))),
    ]
    network = SpikingNetwork(nodes, ["box"], ["class"], torch.tensor([2.0]), T)
    about: dict[str, Any] = {"stage": "copied", "model": "m", "architecture": {}, "class_names": ("a", "b")}
    meta = CheckpointMeta(**about, image_size=SIZE, T=T, neuron="if")
    return onnx_model(Subject(network, meta, ExportConfig(checkpoint="x", out="x.onnx")))


def refused(good: onnx.ModelProto, change: Change, path: Path) -> str:
    """What is said of a changed file, after its name."""
    model = onnx.ModelProto()
    model.CopyFrom(good)
    change(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError) as caught:
        checked(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ").removeprefix("not a file that spikedet has exported: ")


def test_a_good_file_passes_and_runs(good: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(good.SerializeToString())
    content, meta = checked(path)
    assert content == path.read_bytes()
    assert meta.steps == (T,)
    assert meta.network.class_names == ("a", "b")
    _, run = read(path)
    found = run(torch.rand(3, 3, SIZE, SIZE))[T]
    assert found.decoded is not None
    assert found.decoded.shape == (3, 6, 64)


def test_the_extent_of_a_spiking_network_is_that_of_its_layers(good: onnx.ModelProto) -> None:
    extent = extent_of(good, SIZE)
    places, taps = 8 * 8, 3 * 3
    convolved = places * 4 * 3 * taps + T * places * 4 * 4 * taps  # the image is convolved once
    convolved += places * 16 * 4 + places * 2 * 4  # output layers
    assert convolved < extent.operations < 2 * convolved + 200 * T * places * 4
    assert extent.values >= 2 * T * 4 * SIZE * SIZE / 2  # the upsampled train is written and read


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _location_alone(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="x.bin")


def _domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def _imported(model: onnx.ModelProto) -> None:
    model.opset_import.add(domain="com.microsoft", version=1)


def _loop(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Scan").op_type = "Loop"


def _body(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", model.graph))


def _function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="")


def _sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def _dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def _type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = TensorProto.STRING


def _twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2 * SIZE


def _output(model: onnx.ModelProto) -> None:
    del model.graph.output[0]


def _strides(model: onnx.ModelProto) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    next(a for a in conv.attribute if a.name == "strides").ints[0] = 0


def _no_inputs(model: onnx.ModelProto) -> None:
    del next(node for node in model.graph.node if node.op_type == "Conv").input[:]


def _foreign(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _other_metadata(model: onnx.ModelProto) -> None:
    next(entry for entry in model.metadata_props if entry.key == KEY).value = "{}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external, "lies in another file"),
        (_location_alone, "lies in another file"),
        (_domain, "the operator 'com.microsoft."),
        (_imported, "operators other than the standard ones"),
        (_loop, "the operator 'Loop' is none"),
        (_body, "has graphs of its own"),
        (_function, "functions"),
        (_sparse, "sparse tensors"),
        (_dims, "values; its shape has"),
        (_type, "of a type that exports do not have"),
        (_twice, "two of its tensors have one name"),
        (_size, f"expected one input, 'image' of 3 x {SIZE} x {SIZE}"),
        (_output, "it has no output 'boxes_0_t3'"),
        (_strides, "Conv has strides outside 1 to"),
        (_no_inputs, ""),
        (_foreign, "not exported by spikedet"),
        (_other_metadata, "its metadata is not valid"),
    ],
)
def test_what_exports_do_not_have_is_refused(
    good: onnx.ModelProto, change: Change, message: str, tmp_path: Path
) -> None:
    assert message in refused(good, change, tmp_path / "x.onnx")


def before_the_first_layer(*nodes: onnx.NodeProto, **constants: Any) -> Change:
    """Put nodes between the image and its first reader, and cut what they make to the image's size."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        cut = helper.make_node("Slice", [nodes[-1].output[0], "x:from", "x:to", "x:on"], ["cut"])
        graph.node[0].input[0] = "cut"
        rest = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, cut, *rest])
        ends: dict[str, Any] = {"from": [0, 0], "to": [SIZE, SIZE], "on": [2, 3]}
        for name, value in {**constants, **ends}.items():
            array = np.array(value, np.float32 if name == "scales" else np.int64)
            graph.initializer.append(numpy_helper.from_array(array, f"x:{name}"))

    return change


TILE = helper.make_node("Tile", [IMAGE, "x:times"], ["grown"])
RESIZE = helper.make_node("Resize", [IMAGE, "", "x:scales"], ["grown"])
POOL = helper.make_node("AveragePool", [IMAGE], ["grown"], kernel_shape=[2**20 + 1] * 2, pads=[2**19] * 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (before_the_first_layer(TILE, times=[1, 1, 500, 500]), "GiB of memory"),
        (before_the_first_layer(TILE, times=[1, 1, 2**20, 2**20]), "has more than 2147483648 values"),
        (before_the_first_layer(TILE, times=[1, 1, 2**62, 4]), "numbers beyond 2"),
        (before_the_first_layer(RESIZE, scales=[1, 1, 1e30, 1e30]), "enlarges maps more than"),
        (before_the_first_layer(POOL), "multiply-accumulates an image"),
    ],
)
def test_maps_and_work_are_bounded(
    good: onnx.ModelProto, change: Change, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikedet.models.extent.free_bytes", lambda _: 2**30)
    assert message in refused(good, change, tmp_path / "x.onnx")


def test_moderate_changes_are_taken(good: onnx.ModelProto, tmp_path: Path) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(good)
    before_the_first_layer(TILE, times=[1, 1, 2, 2])(model)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    images = torch.rand(2, 3, SIZE, SIZE)
    expected = read_model(good, tmp_path / "good.onnx")(images)[T].decoded
    found = read(tmp_path / "x.onnx")[1](images)[T].decoded
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)


def read_model(model: onnx.ModelProto, path: Path) -> Any:
    path.write_bytes(model.SerializeToString())
    return read(path)[1]


@pytest.mark.parametrize("content", [b"", b"not protobuf at all", b"\x08\x07", b"\x00" * 100])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"no whole ONNX file|not exported by spikedet"):
        checked(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        checked(tmp_path / "x.onnx")


def test_a_cut_file_is_refused(good: onnx.ModelProto, tmp_path: Path) -> None:
    content, path = good.SerializeToString(), tmp_path / "x.onnx"
    for length in range(1, len(content), 997):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            checked(path)


def test_batches_of_any_size_run(good: onnx.ModelProto, tmp_path: Path) -> None:
    run = read_model(good, tmp_path / "x.onnx")
    images = torch.rand(5, 3, SIZE, SIZE)
    every = run(images)[T].decoded
    assert torch.equal(torch.cat([run(images[i : i + 1])[T].decoded for i in range(5)]), every)

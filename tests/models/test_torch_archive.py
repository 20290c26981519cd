"""Torch's files: plain values come out, and nothing that a file names is made, run, imported or believed."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_detector import ARCHITECTURE
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from spikedet.common.errors import CheckpointError
from spikedet.models.imported import read_ultralytics
from spikedet.models.torch_archive import MOST_BYTES, MOST_OPERATIONS, Inert, Stored, interpreted, open_torch

pytestmark = pytest.mark.slow


def write_zip(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(f"x/{name}", content)
    return path


def saved(value: Any) -> dict[str, bytes]:
    """The entries of what torch writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def detector() -> DetectionModel:
    return DetectionModel(dict(ARCHITECTURE), ch=3, nc=4, verbose=False)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_ultralytics(path)
    assert str(caught.value).startswith(f"{path}: refused, not an ultralytics detection checkpoint")
    return str(caught.value)


def test_nothing_is_nothing() -> None:
    assert interpreted(pickle.dumps(None, 2)) is None
    assert interpreted(pickle.dumps([], 2)) == []


@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_values_are_themselves(protocol: int) -> None:
    value = {
        "a": [1, 300, 70_000, -1, 2**40, 0.5, None, True, False, "ä"],
        0: (1,),
        "b": ((), (1, 2), (1, 2, 3, 4), {}),
    }
    assert interpreted(pickle.dumps(value, protocol)) == value


def test_a_list_within_itself() -> None:
    inner: list[Any] = []
    inner.append(inner)
    found = interpreted(pickle.dumps(inner, 2))
    assert found[0] is found


class Loud:
    """Leaves a trace when it is made or given its state."""

    trace: list[str] = []  # noqa: RUF012

    def __new__(cls) -> Loud:
        cls.trace.append("made")
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.trace.append("state")

    def __getstate__(self) -> Any:
        return {"a": 1}


def test_objects_are_not_made() -> None:
    pickled = pickle.dumps({"loud": Loud(), "kind": Loud}, 2)
    Loud.trace.clear()
    found = interpreted(pickled)
    assert Loud.trace == []
    assert isinstance(found["loud"], Inert) and isinstance(found["kind"], Inert)
    assert found["loud"].name.endswith("Loud") and found["loud"].state == {"a": 1}


@pytest.mark.parametrize("size", [(), (3,), (2, 3), (0, 4), (2, 3, 1, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_tensors_come_out_as_they_were(size: tuple[int, ...], dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = (torch.randn(size) * 9).to(dtype)
    torch.save({"t": tensor, "p": nn.Parameter(torch.ones(2))}, tmp_path / "t.pt")
    with open_torch(tmp_path / "t.pt") as archive:
        read = archive.read(archive.content["t"])
        assert archive.read(archive.content["p"]).tolist() == [1, 1]
    assert torch.equal(read, tensor.float() if dtype.is_floating_point else tensor)


def test_strided_tensors_come_out_as_they_were(tmp_path: Path) -> None:
    tensor = torch.randn(4, 6)
    torch.save(
        [tensor.T, tensor[1:, ::2], tensor.view(1, 2, 2, 6).contiguous(memory_format=torch.channels_last)],
        tmp_path / "t.pt",
    )
    with open_torch(tmp_path / "t.pt") as archive:
        first, second = (archive.read(stored) for stored in archive.content[:2])
    assert torch.equal(first, tensor.T) and torch.equal(second, tensor[1:, ::2])


@pytest.mark.parametrize("name", ["yolov8n", "yolov5n", "yolov3-tiny", "yolo11n"])
def test_ultralytics_own_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    YOLO(f"{name}.yaml").save(path)
    found = read_ultralytics(path)
    model = torch.load(path, weights_only=False)["model"]
    expected = model.state_dict()
    assert found.tensors.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found.tensors[key], value.float() if value.is_floating_point() else value)
    assert found.class_names == tuple(model.names.values()) and len(found.architecture["backbone"]) > 5


def call(module: str, name: str, *arguments: Any) -> bytes:
    """The operations that call a function."""
    return f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"R"


@pytest.mark.parametrize(
    "operations",
    [
        call("os", "mkdir", "TRACE"),
        call("builtins", "eval", "__import__('os').mkdir('TRACE')"),
        call("torch.nn.modules.linear", "Linear", 49_000, 49_000),
        call("torch", "zeros", 10**6, 10**6),
        call("torch.hub", "load_state_dict_from_url", "http://127.0.0.1:9/"),
        call("ultralytics.nn.modules.block", "TorchVision", "resnet18", "DEFAULT"),
        call("antigravity", "fly"),
    ],
)
def test_functions_of_a_file_are_not_called(operations: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_zip(tmp_path / "evil.pt", {"data.pkl": b"\x80\x02}X\x05\x00\x00\x00model" + operations + b"s."})
    started = time.monotonic()
    refusal(path)
    assert time.monotonic() - started < 2
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pt"] and "antigravity" not in sys.modules


def test_hooks_of_a_file_are_left_where_they_are(tmp_path: Path) -> None:
    """Ultralytics' loader sets them, and ``state_dict()`` calls them with the file's object."""
    model = detector()
    model._state_dict_pre_hooks[0] = print
    torch.save({"model": model}, tmp_path / "net.pt")
    assert read_ultralytics(tmp_path / "net.pt").tensors.keys() == model.state_dict().keys()


def test_compressed_entries_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.pt", saved(3) | {"data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**6
    assert "its entries are compressed, which torch never does" in refusal(path)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"K\x01s", ""),
        (b"]" + b"r\xff\xff\xff\x7f" * 10, ""),
        (b"X\xff\xff\xff\xff", "expected 4294967295 bytes"),
        (b"\x8e" + struct.pack("<Q", 2**40), "expected"),
        (b"\x8b" + struct.pack("<i", 2**31 - 1), "not enough data"),
        (b"\x82\x01", "its pickle does EXT1, which no checkpoint needs"),
        (b"(ios\nmkdir\n", "its pickle does INST, which no checkpoint needs"),
        (b"]" * (MOST_OPERATIONS + 1), f"more than {MOST_OPERATIONS} operations"),
        (b")" + b"\x85" * 10**5, "object has no attribute"),
        (b"]" * MOST_BYTES, "its pickle has 4194307 bytes; expected at most 4194304"),
        (b"0", "its pickle does POP"),
        (b"\x85", "takes from an empty stack"),
        (b"h\x05", "5"),
    ],
    ids=range(13),
)
def test_a_pickle_that_asks_for_much_is_refused(pickled: bytes, message: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.pt", {"data.pkl": b"\x80\x02" + pickled + b"."})
    started = time.monotonic()
    found = refusal(path)
    assert time.monotonic() - started < 8
    assert message in found


def test_keys_that_could_make_a_mapping_slow_are_not_kept() -> None:
    value = {"a" * 257: 1, 2**61 - 1: 2, -1: 3, (1, 2): 4, 0.5: 5, None: 6, "a": 7, 8: 8}
    assert interpreted(pickle.dumps(value, 2)) == {"a": 7, 8: 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (10**5, 10**5), "stride": (0, 0)}, "its tensors are larger than the file"),
        ({"offset": 10**6}, "its tensors are larger than the file"),
        ({"size": (4,), "stride": (10**9,)}, "its tensors are larger than the file"),
        ({"dtype": None}, "a tensor of an unknown type"),
        ({"key": "7"}, "There is no item named"),
        ({"key": "../../data.pkl"}, "There is no item named"),
    ],
)
def test_a_tensor_that_its_bytes_cannot_hold_is_refused(changes: Any, message: str, tmp_path: Path) -> None:
    torch.save(torch.ones(4, 2), tmp_path / "t.pt")
    with open_torch(tmp_path / "t.pt") as archive:
        stored: Stored = archive.content
        assert archive.read(stored).sum() == 8
    with open_torch(tmp_path / "t.pt") as archive, pytest.raises((ValueError, KeyError), match=message):
        archive.read(stored._replace(**changes))


def test_tensors_are_no_more_than_the_file_together(tmp_path: Path) -> None:
    torch.save(torch.ones(10_000), tmp_path / "t.pt")
    with open_torch(tmp_path / "t.pt") as archive:
        archive.read(archive.content)
        with pytest.raises(ValueError, match="its tensors are larger than the file"):
            archive.read(archive.content)


@pytest.mark.parametrize("count", [100, 10_000])
def test_modules_within_themselves(count: int, tmp_path: Path) -> None:
    model = detector()
    if count == 100:
        model.model._modules["0"]._modules["again"] = model.model
    else:
        inner = nn.Sequential()
        for _ in range(16):
            inner = nn.Sequential(inner, inner)
        model.model._modules["0"]._modules["many"] = inner
    torch.save({"model": model}, tmp_path / "x.pt")
    assert "its model has too many modules, or they lie within each other" in refusal(tmp_path / "x.pt")


def test_another_byte_order_and_a_long_list_of_entries(tmp_path: Path) -> None:
    entries = saved({"model": 3})
    assert "another byte order" in refusal(write_zip(tmp_path / "a.pt", {**entries, "byteorder": b"big"}))
    many = {f"data/{number}" + "y" * 900: b"" for number in range(5000)}
    assert "its list of entries has" in refusal(write_zip(tmp_path / "b.pt", {**entries, **many}))


@pytest.mark.parametrize("size", ["64", [64, 64], 10**30, None])
def test_an_image_size_that_is_none(size: Any, tmp_path: Path) -> None:
    torch.save({"model": detector(), "train_args": {"imgsz": size}}, tmp_path / "x.pt")
    if isinstance(size, int):
        assert read_ultralytics(tmp_path / "x.pt").image_size == size  # refused where it is used
    else:
        assert "its image size is no whole number" in refusal(tmp_path / "x.pt")

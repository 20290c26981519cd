"""``.pt`` files that mean harm, by kind: a pickle, the bytes of its tensors, and a zip archive around them."""

from __future__ import annotations

import copy
import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from fuzz_targets import ARCHITECTURE
from mutations import bytes_mutated, value_mutated
from torch import nn
from ultralytics.nn.tasks import DetectionModel

Entries = dict[str, bytes]
Change = Callable[[Entries, random.Random], None]

PICKLE = "x/data.pkl"


@cache
def good() -> Entries:
    """The entries of a small detector's file."""
    return saved(detector())


def detector() -> DetectionModel:
    torch.manual_seed(0)
    return DetectionModel(copy.deepcopy(ARCHITECTURE), ch=3, nc=4, verbose=False)


def saved(model: Any, **more: Any) -> Entries:
    """What torch writes, by entry."""
    buffer = io.BytesIO()
    torch.save({"model": model, "train_args": {"imgsz": 64}, **more}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {f"x/{name.partition('/')[2]}": archive.read(name) for name in archive.namelist()}


def write_archive(path: Path, change: Change, chance: random.Random) -> None:
    """One file of a kind."""
    entries = dict(good())
    change(entries, chance)
    raw = entries.pop("raw", None)
    if raw is not None:
        path.write_bytes(raw)
        return
    compressed = entries.pop("compressed", None) is not None
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


class Call:
    """Runs a function when it is unpickled."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.module, self.name, self.arguments = module, name, arguments

    def pickled(self) -> bytes:
        """Without importing anything here."""

        call = f"c{self.module}\n{self.name}\n".encode()
        return call + pickle.dumps(self.arguments, 2)[2:-1] + b"R"


CALLS = (
    Call("os", "system", "touch /tmp/spikedet-was-here"),
    Call("builtins", "eval", "__import__('os').system('false')"),
    Call("torch.nn.modules.linear", "Linear", 49_000, 49_000),
    Call("torch", "zeros", 10**6, 10**6),
    Call("torch.hub", "load_state_dict_from_url", "http://127.0.0.1:9/x.pt"),
    Call("ultralytics.nn.modules.block", "TorchVision", "resnet18", "DEFAULT"),
    Call("builtins", "getattr", "os", "system"),
    Call("torch._utils", "_rebuild_tensor_v2", 1, 2, 3, 4),
    Call("numpy", "zeros", 10**12),
)


def _calls(entries: Entries, chance: random.Random) -> None:
    """A function of the file in the place of the content, of the model or of a value nobody needs."""
    call = chance.choice(CALLS).pickled()
    key = chance.choice((b"model", b"ema", b"optimizer", b""))
    if key:
        entries[PICKLE] = b"\x80\x02}(X" + struct.pack("<I", len(key)) + key + call + b"u."
    else:
        entries[PICKLE] = b"\x80\x02" + call + b"."


def _hooks(entries: Entries, chance: random.Random) -> None:
    model = detector()
    name = chance.choice(("_state_dict_pre_hooks", "_forward_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks"))
    setattr(model, name, {0: print})
    entries.update(saved(model, ema=nn.Linear(2, 2) if chance.random() < 0.3 else None))


def _bomb(entries: Entries, chance: random.Random) -> None:
    """Compressed zeros: as a tensor's bytes, or as the pickle."""
    name = chance.choice([PICKLE, "x/data/0", "x/more"])
    entries[name] = bytes(chance.choice((10**6, 10**8)))
    entries["compressed"] = b""


def _numbers(entries: Entries, chance: random.Random) -> None:
    """Sizes, strides and offsets of tensors."""
    content = bytearray(entries[PICKLE])
    for _ in range(chance.choice((1, 2, 8))):
        places = [i for i in range(len(content) - 2) if content[i] in b"KMJ"]
        at = chance.choice(places)
        code, width = chance.choice(((b"K", 1), (b"M", 2), (b"J", 4)))
        old = {b"K": 2, b"M": 3, b"J": 5}[bytes(content[at : at + 1])]
        content[at : at + old] = code + bytes(chance.choice((0, 1, 127, 255)) for _ in range(width))
    entries[PICKLE] = bytes(content)


def _operations(entries: Entries, chance: random.Random) -> None:
    """Pickles that ask for much: each a few bytes again and again."""
    count = chance.choice((1000, 10**5, 10**6, 3 * 10**6))
    body = {
        "lists": b"]" * count,
        "mappings": b"}" * count,
        "marks": b"(" * count,
        "nested tuples": b")" + b"\x85" * count,
        "shared tuples": b")" + b"q\x00h\x00\x86" * min(count, 10**5),
        "shared keys": b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"K\x01s",
        "memo": b"]" + b"r\xff\xff\xff\x7f" * min(count, 1000),
        "long text": b"X\xff\xff\xff\xff",
        "bytes": b"\x8e" + struct.pack("<Q", 2**40),
        "growing": b"\x96" + struct.pack("<Q", 2**40),
        "long number": b"\x8b" + struct.pack("<i", 2**31 - 1),
        "whole number": b"\x8a\xff" + b"\x7f" * 255,
        "colliding keys": b"}(" + b"".join(b"\x8a\x09" + struct.pack("<QB", n * (2**61 - 1) % 2**64, 0) + b"N"
                                           for n in range(min(count // 10, 10**5))) + b"u",
        "frames": b"\x95" + struct.pack("<Q", 2**60),
        "extensions": b"\x82\x01",
        "old objects": b"(ios\nsystem\n",
        "within itself": b"]q\x00h\x00a",
    }  # fmt: skip
    entries[PICKLE] = b"\x80\x02" + chance.choice(list(body.values())) + b"."


def _modules(entries: Entries, chance: random.Random) -> None:
    """Modules within themselves, many times over, or with names without end."""
    model = detector()
    inner: nn.Module = nn.Sequential()
    match chance.randrange(5):
        case 0:
            model.model._modules["0"]._modules["again"] = model.model
        case 1:
            for _ in range(40):
                inner = nn.Sequential(inner, inner)
            model.model._modules["0"]._modules["many"] = inner
        case 2:
            for _ in range(60):
                inner = nn.Sequential(inner)
            model.model._modules["0"]._modules["deep"] = inner
        case 3:
            model.model._modules["x" * chance.choice((300, 10**6))] = nn.Conv2d(1, 1, 1)
        case _:
            model.model._modules["0"]._parameters["more"] = nn.Parameter(torch.zeros(1))
    entries.update(saved(model))


def _yaml(entries: Entries, chance: random.Random) -> None:
    model = detector()
    for _ in range(chance.choice((1, 2, 3))):
        model.yaml = value_mutated(model.yaml, chance)
    model.names = chance.choice((model.names, ["a"] * 4, [1, 2, 3, 4], {1: "a"}, ["a"] * 10**5, "abcd", {}, [], None))
    entries.update(saved(model, train_args={"imgsz": chance.choice((64, "64", [64, 64], 50, 8192, -1, 10**30, None))}))


def _scaled(entries: Entries, chance: random.Random) -> None:
    """An architecture that is not that of the tensors, and large."""
    model = detector()
    model.yaml["width_multiple"] = chance.choice((0.5, 4, 16))
    model.yaml["backbone"] = [*([[-1, 100, "C2f", [4096, True]]] * chance.choice((0, 1, 20))), *model.yaml["backbone"]]
    entries.update(saved(model))


def _values(entries: Entries, chance: random.Random) -> None:
    model = detector()
    with torch.no_grad():
        value = chance.choice((float("nan"), float("inf"), 1e38, -1e30))
        chance.choice([p for p in model.parameters() if p.numel()]).fill_(value)
    if chance.random() < 0.3:
        model.model[0].conv.weight = nn.Parameter(torch.ones(8, 3, 3, 3, dtype=torch.complex64))
    entries.update(saved(model))


def _entries(entries: Entries, chance: random.Random) -> None:
    """Entries that are missing, exchanged, or too many."""
    names = [name for name in entries if name != PICKLE]
    match chance.randrange(6):
        case 0:
            del entries[chance.choice(names)]
        case 1:
            entries[chance.choice(names)] = b"big"
        case 2:
            entries["x/byteorder"] = b"big"
        case 3:
            entries["y/data.pkl"] = entries[PICKLE]
        case 4:
            entries |= {f"x/data/{number}" + "y" * 1000: b"" for number in range(8000)}
        case _:
            entries[chance.choice(names)] = bytes(20)


def _bytes(entries: Entries, chance: random.Random) -> None:
    """The pickle or the whole file, damaged."""
    if chance.random() < 0.6:
        entries[PICKLE] = bytes_mutated(entries[PICKLE], chance)
        return
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    whole = bytearray(bytes_mutated(buffer.getvalue(), chance))
    if chance.random() < 0.5:  # the list of entries is at the end
        for _ in range(3):
            whole[-chance.randrange(1, min(400, len(whole)))] = chance.randrange(256)
    entries["raw"] = bytes(whole)


ARCHIVES: dict[str, Change] = {
    ".pt: calls": _calls,
    ".pt: hooks": _hooks,
    ".pt: compressed": _bomb,
    ".pt: numbers of tensors": _numbers,
    ".pt: many operations": _operations,
    ".pt: modules": _modules,
    ".pt: YAML, names and size": _yaml,
    ".pt: large architectures": _scaled,
    ".pt: values": _values,
    ".pt: entries": _entries,
    ".pt: damaged": _bytes,
}

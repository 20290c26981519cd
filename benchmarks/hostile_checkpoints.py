"""Safetensors checkpoints that mean harm, by kind: each writes one file, made from a good one."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fuzz_targets import ARCHITECTURE
from mutations import bytes_mutated, value_mutated
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spikedet.checkpoint import CheckpointMeta, save_checkpoint
from spikedet.conversion import save_spiking, to_spiking
from spikedet.models import build_detector

Tensors = dict[str, Tensor]
Change = Callable[[Tensors, dict[str, Any], random.Random], None]
Writer = Callable[[Path, dict[str, Path], random.Random], None]

NAMES = ("a", "b", "c", "d")
HUGE = (1e38, -1e38, 1e30, 1e12, float("nan"), float("inf"), float("-inf"))
SIZES = (1, 7, 33, 50, 100, 1000, 4096, 8188, 8192, 8193, 10**6, -64, 0)
DTYPES = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, torch.float64, torch.float8_e4m3fn)


def seeds(folder: Path) -> dict[str, Path]:
    """A good ANN, QC-ANN, converted network, one of LeakyReLU with all kinds of layers, and one without its graph."""
    folder.mkdir(parents=True)
    rows = [*ARCHITECTURE["backbone"], [-1, 1, "C2f", [8, True]], [-1, 1, "SPPF", [8, 5]]]
    head = [[-1, 1, "nn.Upsample", [None, 2, "nearest"]], [[-1, 1], 1, "Concat", [1]], [[-1], 1, "Detect", ["nc"]]]
    rich = {**ARCHITECTURE, "activation": "torch.nn.LeakyReLU(0.1)", "backbone": rows, "head": head}
    common: dict[str, Any] = {"model": "m", "architecture": ARCHITECTURE, "class_names": NAMES, "image_size": 64}
    meta = CheckpointMeta(stage="ann", **common)
    torch.manual_seed(0)
    model = build_detector(ARCHITECTURE, NAMES).eval()
    written = {"ann": save_checkpoint(folder / "ann.safetensors", model.state_dict(), meta)}
    qc = dataclasses.replace(meta, stage="qc", T=2, finetuned=True)
    written["qc"] = save_checkpoint(folder / "qc.safetensors", model.state_dict(), qc)
    snn = dataclasses.replace(meta, stage="copied", T=2, neuron="if")
    network = to_spiking(model, 2)
    written["snn"] = save_spiking(folder / "snn.safetensors", network, snn)
    written["old"] = save_checkpoint(folder / "old.safetensors", network.tensors(), snn)
    leaky = to_spiking(build_detector(rich, NAMES).eval(), 2, delay=1)
    first = next(layer for _, layer in leaky.spiking())
    first.u0 = nn.Parameter(first.u0.detach().view(-1, 1, 1).expand(-1, 32, 32).contiguous())
    kinds = dataclasses.replace(snn, architecture=rich, delay=1)
    written["rich"] = save_spiking(folder / "rich.safetensors", leaky, kinds)
    return written


def _changed(change: Change, *bases: str) -> Writer:
    """Writes one of the good files with a change to its tensors or metadata."""

    def write(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
        tensors, meta = _opened(originals[chance.choice(bases or sorted(originals))])
        change(tensors, meta, chance)
        tensors = {name: value.clone() for name, value in tensors.items()}
        save_file(tensors, path, metadata={"spikedet": json.dumps(meta)})

    return write


def _opened(path: Path) -> tuple[Tensors, dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return tensors, json.loads(file.metadata()["spikedet"])


def _pick(tensors: Tensors, chance: random.Random, *ends: str) -> str:
    return chance.choice([name for name in sorted(tensors) if name.endswith(ends or "")])


def _one_value(tensors: Tensors, _: Any, chance: random.Random) -> None:
    name = _pick(tensors, chance)
    if tensors[name].is_floating_point() and tensors[name].numel():
        tensors[name].view(-1)[chance.randrange(tensors[name].numel())] = chance.choice(HUGE)


def _all_values(tensors: Tensors, _: Any, chance: random.Random) -> None:
    value = chance.choice((*HUGE, 1e7, -1e7))
    for name in tensors:
        if tensors[name].is_floating_point() and not name.endswith("theta"):
            tensors[name].fill_(value)


def _theta(tensors: Tensors, _: Any, chance: random.Random) -> None:
    tensors[_pick(tensors, chance, "theta")].fill_(chance.choice((0, -1, -1e-9, 1e-38, 1e-45, 1e9, 800, -800, 1e38)))


def _variance(tensors: Tensors, _: Any, chance: random.Random) -> None:
    tensors[_pick(tensors, chance, "running_var")].fill_(chance.choice((-1.0, -1e-3, -1e30, 1e30)))


def _dtype(tensors: Tensors, _: Any, chance: random.Random) -> None:
    name = _pick(tensors, chance)
    tensors[name] = tensors[name].to(chance.choice(DTYPES))


def _shape(tensors: Tensors, _: Any, chance: random.Random) -> None:
    name = _pick(tensors, chance)
    value = tensors[name]
    forms = [value.flatten(), value.unsqueeze(0), value.new_zeros(0), value.new_zeros(0, *value.shape), value.sum()]
    forms += [value.repeat(2, *[1] * max(value.ndim - 1, 0)) if value.ndim else value, value.new_zeros(7, 1, 5)]
    forms += [value.transpose(0, 1) if value.ndim > 1 else value[:0] if value.ndim else value]
    tensors[name] = chance.choice(forms).contiguous().clone()


def _potentials(tensors: Tensors, _: Any, chance: random.Random) -> None:
    name = _pick(tensors, chance, "u0")
    sides = [chance.choice((0, 1, 2, 8, 16, 31, 32, 33, 64)) for _ in range(chance.choice((0, 1, 2, 2, 2, 3)))]
    tensors[name] = torch.zeros(len(tensors[name]), *sides)


def _names(tensors: Tensors, _: Any, chance: random.Random) -> None:
    name, action = _pick(tensors, chance), chance.randrange(3)
    value = tensors.pop(name) if action < 2 else tensors[name]
    if action:
        tensors[chance.choice(("x", name + "x", "model/0/weight", "model.0", "", name.upper(), "../" + name))] = value


def _image_size(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    meta["image_size"] = chance.choice(SIZES)


def _steps(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    meta[chance.choice(("T", "delay", "seed", "format"))] = chance.choice((0, -1, 1, 3, 1000, 32768, 2**40, 2**70, 1.5))


def _classes(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    few = chance.choice((["a"], [], ["a"] * 5, ["\x1b[2J"] * 4, [1, 2, 3, 4], ["x" * 10**6] * 4, "abcd"))
    meta["class_names"] = chance.choice((few, ["a"] * 99_999, ["a"] * 200_000))


def _metadata(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    for _time in range(chance.choice((1, 2, 4))):
        value_mutated(meta, chance)


def _architecture(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    made = meta["architecture"]
    row = chance.choice([*made["backbone"], *made["head"][:-1]] or made["backbone"])
    match chance.randrange(9):
        case 0:
            made["width_multiple"] = chance.choice((4, 16))
        case 1:
            made["depth_multiple"], row[1] = 16, chance.choice((2, 100))
        case 2:
            row[1] = chance.choice((100, 99))
        case 3:
            made["scales"], made["scale"] = {"n": [16, 16, 10_000]}, "n"
        case 4:
            grown = [[-1, 1, "nn.Upsample", [None, chance.choice((2, 8, 64)), "nearest"]]] * chance.choice((1, 5, 20))
            made["backbone"] = [*grown, *made["backbone"]]
        case 5:
            made["backbone"][0] = [-1, 1, "nn.ZeroPad2d", [[4096, 4096, 4096, 4096]]]
        case 6:
            made["backbone"] = [*([[[-1, -1], 1, "Add", []]] * chance.choice((20, 60))), *made["backbone"]]
        case 7:
            made["backbone"] = [[-1, 100, "RepNCSPELAN4", [64, 64, 32, 100]]] * chance.choice((1, 30, 300))
        case _:
            row[3] = [chance.choice((0, 1, 3, 4096, [2, 3], None)) for _ in row[3]]


def _graph(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    for _time in range(chance.choice((1, 2, 3))):
        meta["graph"] = value_mutated(meta["graph"], chance)


def _graph_numbers(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    layer = chance.choice(meta["graph"]["layers"])
    keys = [key for key in layer if key not in ("name", "inputs", "kind")]
    if keys:
        key = chance.choice(keys)
        number = chance.choice((0, 1, 2, 3, 64, 65536, 10**9, -1, 1e-9, 0.5))
        layer[key] = [number, chance.choice((number, 1))] if isinstance(layer[key], list) else number


def _graph_edges(_: Tensors, meta: dict[str, Any], chance: random.Random) -> None:
    graph, layers = meta["graph"], meta["graph"]["layers"]
    layer = chance.choice(layers)
    match chance.randrange(8):
        case 0:
            layer["inputs"] = [chance.choice(layers)["name"] for _ in range(chance.choice((1, 2, 5)))]
        case 1:
            chance.shuffle(layers)
        case 2:
            layers.append(copy.deepcopy(layer))
        case 3:
            graph["boxes"], graph["classes"] = graph["classes"], graph["boxes"]
        case 4:
            graph["strides"] = [chance.choice((0, 1e-9, -1, 1, 3, 1e9, 64)) for _ in graph["strides"]]
        case 5:
            graph[chance.choice(("boxes", "classes", "strides"))] = []
        case 6:
            _insert(layers, [{"kind": "Add", "inputs": ["?", "?"]}] * chance.choice((20, 100, 5000)))
        case _:
            _insert(layers, [{"kind": "Upsample", "factor": chance.choice((2, 64)), "inputs": ["?"]}] * 12)


def _insert(layers: list[dict[str, Any]], chain: list[dict[str, Any]]) -> None:
    """A chain of layers between the image and its first reader."""
    last, made = "image", []
    for number, layer in enumerate(chain):
        made.append({**layer, "name": f"x{number}", "inputs": [last] * len(layer["inputs"])})
        last = f"x{number}"
    layers[0]["inputs"] = [last]
    layers[:0] = made


def _header(path: Path, originals: dict[str, Path], chance: random.Random) -> None:
    """A file whose header lies about its length, its tensors or its text."""
    content = originals[chance.choice(sorted(originals))].read_bytes()
    size = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = chance.choice([name for name in header if name != "__metadata__"])
    match chance.randrange(8):
        case 0:
            path.write_bytes(struct.pack("<Q", chance.choice((2**63, 2**40, 10**8, 0, size + 1))) + content[8:])
            return
        case 1:
            header[name]["shape"] = chance.choice(([2**40], [2**32, 2**32], [0, 2**60], [-1], [1] * 1000))
        case 2:
            header[name]["data_offsets"] = chance.choice(([0, 2**40], [8, 4], [0, 0], [-1, 4]))
        case 3:
            header |= {f"x{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(50_000)}
        case 4:
            header["__metadata__"]["spikedet"] = chance.choice(("[" * 10**5, "{}", "null", '{"a":' * 5000, "9" * 5000))
        case 5:
            header["__metadata__"]["x"] = "x" * 9 * 2**20
        case 6:
            meta = json.loads(header["__metadata__"]["spikedet"])
            header["__metadata__"]["spikedet"] = json.dumps({**meta, "notes": {"x": [[]] * 10**6}})
        case _:
            path.write_bytes(bytes_mutated(content, chance))
            return
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)


SPIKING, ANNS = ("snn", "old", "rich"), ("ann", "qc")
CHECKPOINTS: dict[str, Writer] = {
    "a value not finite or too large": _changed(_one_value),
    "all values alike": _changed(_all_values),
    "thresholds": _changed(_theta),
    "variances": _changed(_variance, *ANNS),
    "types of tensors": _changed(_dtype),
    "shapes of tensors": _changed(_shape),
    "initial potentials": _changed(_potentials, *SPIKING),
    "names of tensors": _changed(_names),
    "image sizes": _changed(_image_size),
    "time steps and delays": _changed(_steps),
    "class names": _changed(_classes),
    "any metadata": _changed(_metadata),
    "architectures": _changed(_architecture, "ann", "qc", "old"),
    "any of the graph": _changed(_graph, "snn", "rich"),
    "numbers of the graph": _changed(_graph_numbers, "snn", "rich"),
    "edges of the graph": _changed(_graph_edges, "snn", "rich"),
    "headers and bytes": _header,
}

#!/usr/bin/env python3
"""Mutates annotations, pictures, label files, models and checkpoints, and reads them.

    python benchmarks/fuzz.py [--cases 10000] [--seed 0] [--publish]

Every case must end in success or in one of our own errors, within 10 s, without running anything, connecting anywhere,
unpickling (``.pt`` files go through torch's restricted unpickler) or writing outside the output folder. Prints a table
of outcomes by kind of file, and fails where one is anything else; ``--publish`` writes docs/results/fuzz.json, from
which the table in docs/pipeline.md is made.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from readme_tables import ROOT
from tables import fuzz_table
from ultralytics.nn.tasks import DetectionModel

from spikedet import SpikingDetector
from spikedet.calibration import calibrate
from spikedet.checkpoint import load_checkpoint
from spikedet.config import CalibrateConfig, ConvertConfig, DataConvertConfig, TrainConfig
from spikedet.convert import convert
from spikedet.data import load_dataset
from spikedet.data.convert import convert as convert_data
from spikedet.data.images import read_image
from spikedet.data.synthetic import write_synthetic
from spikedet.environment import versions
from spikedet.errors import SpikedetError
from spikedet.evaluation import read_results
from spikedet.evaluation.archive import load_predicted
from spikedet.files import write_json
from spikedet.kernels.library import available
from spikedet.models import build_detector, load_ann, load_model_yaml
from spikedet.models.imported import read_ultralytics
from spikedet.training import train

LIMIT_S = 10.0
ARCHITECTURE: dict[str, Any] = {
    "nc": 4,
    "activation": "torch.nn.ReLU()",
    "reg_max": 4,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [8, 3, 2]], [-1, 1, "nn.MaxPool2d", [2, 2]]],
    "head": [[-1, 1, "Conv", [8, 3, 2]], [[-1], 1, "Detect", ["nc"]]],
}
TRAINING: dict[str, Any] = {"image_size": 64, "epochs": 1, "batch": 4, "warmup_epochs": 0, "held_out": 0.0}
TOKENS = (b"nan", b"-1", b"0", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}", b'""', b"../../etc/passwd")
VALUES: tuple[Any, ...] = (None, -1, 0, 1, 10**9, 1.5, float("nan"), "x", "../..", [], {}, True, [1] * 3, "9" * 40)
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
)
WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree", "os.truncate")


class Watch:
    """An audit hook that notes what no reader of files may do; it cannot be taken off, only told to look away."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def looking(self, allowed: Path) -> Iterator[list[str]]:
        """Note everything forbidden; files may be written under ``allowed``."""
        self.allowed, self.seen = allowed.resolve(), []
        try:
            yield self.seen
        finally:
            self.allowed = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in FORBIDDEN:
            self.seen.append(event)
        elif event in WRITES or (event == "open" and _writes(arguments)):
            path = arguments[0]
            if isinstance(path, (str, bytes, os.PathLike)) and not self._may(os.fsdecode(path)):
                self.seen.append(f"{event} {os.fsdecode(path)}")

    def _may(self, path: str) -> bool:
        assert self.allowed is not None
        return os.path.abspath(path).startswith((str(self.allowed), os.devnull, "/proc/", "/sys/"))


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


@dataclass(frozen=True)
class Target:
    """Files of one kind, and what is done with them.

    Attributes:
        name: in the table.
        file: the one that is mutated, under the folder of a case.
        read: reads it; the folder of the case and the output folder.
    """

    name: str
    file: str
    read: Callable[[Path, Path], object]


@dataclass
class Findings:
    """Outcomes by target, and what must not be."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def seeds(folder: Path) -> None:
    """One valid file of every kind; what is compiled at first use is compiled here."""
    available()
    write_synthetic(folder / "voc", train=4, val=2, test=2, image_hw=(64, 64))
    for layout in ("yolo", "coco"):
        convert_data(DataConvertConfig(data=str(folder / "voc"), to=layout, out=str(folder / layout)))
    (folder / "short.yaml").write_text("data: voc\nnames: [circle, square, triangle, cross]\n", "utf-8")
    (folder / "model.yaml").write_text(yaml.safe_dump(ARCHITECTURE), "utf-8")
    train(TrainConfig(data=str(folder / "voc"), model=str(folder / "model.yaml"), out=str(folder / "net"), **TRAINING))
    convert(ConvertConfig(checkpoint=str(folder / "net/ann.safetensors"), T=2, theta_images=2))
    model = DetectionModel(dict(ARCHITECTURE), ch=3, nc=4, verbose=False)
    torch.save({"model": model, "train_args": {"imgsz": 64}}, folder / "net.pt")


def targets(folder: Path) -> list[Target]:
    """Every kind of file that spikedet reads."""
    picture = next((folder / "voc/JPEGImages").glob("train*")).relative_to(folder)
    label = next((folder / "yolo/labels").glob("train*")).relative_to(folder)
    annotation = next((folder / "voc/Annotations").glob("train*")).relative_to(folder)

    def dataset(data: str) -> Callable[[Path, Path], object]:
        return lambda home, out: load_dataset(home / data, "train", skip_bad=False)

    def network(home: Path, out: Path) -> object:
        return SpikingDetector.load(home / "net/copied.safetensors")(home / picture)

    def again(home: Path, out: Path) -> object:
        shutil.copytree(home / "net", out / "net")
        data, model = str(home / "voc"), str(home / "model.yaml")
        settings = {**TRAINING, "epochs": 2, "resume": True}
        return train(TrainConfig(data=data, model=model, out=str(out / "net"), **settings))

    def calibrated(home: Path, out: Path) -> object:
        checkpoint, data = str(home / "net/copied.safetensors"), str(home / "voc")
        return calibrate(CalibrateConfig(checkpoint=checkpoint, data=data, images=2, fine=False, out=str(out)))

    def detector(home: Path, out: Path) -> object:
        return build_detector(load_model_yaml(str(home / "model.yaml")), "ab")

    source, state, coco = "net/ann.safetensors", "net/ann-state.safetensors", "coco/annotations/instances_train.json"

    return [
        Target("VOC annotation", str(annotation), dataset("voc")),
        Target("VOC split", "voc/ImageSets/Main/train.txt", dataset("voc")),
        Target("data YAML", "short.yaml", dataset("short.yaml")),
        Target("YOLO labels", str(label), dataset("yolo")),
        Target("YOLO YAML", "yolo/data.yaml", dataset("yolo")),
        Target("YOLO split", "yolo/train.txt", dataset("yolo")),
        Target("COCO JSON", coco, dataset("coco")),
        Target("picture", str(picture), lambda home, out: read_image(home / picture)),
        Target("skipped picture", str(picture), lambda home, out: load_dataset(home / "voc", "train", skip_bad=True)),
        Target("model YAML", "model.yaml", detector),
        Target("source checkpoint", source, lambda home, out: load_ann(home / source)),
        Target("spiking checkpoint", "net/copied.safetensors", network),
        Target("calibrated checkpoint", "net/copied.safetensors", calibrated),
        Target("training state", state, again),
        Target("detections", source, lambda home, out: load_predicted(home / source, 2)),
        Target("any checkpoint", state, lambda home, out: load_checkpoint(home / state)),
        Target("results", coco, lambda home, out: read_results(home / coco)),
        Target("ultralytics .pt", "net.pt", lambda home, out: read_ultralytics(home / "net.pt")),
    ]


def mutated(content: bytes, suffix: str, chance: random.Random) -> bytes:
    """A change to one value of what the file holds, where its form is known, or to its bytes."""
    if chance.random() < 0.6:
        try:
            return STRUCTURED[suffix](content, chance)
        except (KeyError, ValueError, yaml.YAMLError):
            pass
    return bytes_mutated(content, chance)


def bytes_mutated(content: bytes, chance: random.Random) -> bytes:
    """One to four changes: bytes flipped, cut, doubled or inserted, numbers and words replaced."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        reach = len(data) if chance.random() < 0.5 else min(len(data), 4096)  # half of them where headers are
        at, length = chance.randrange(max(reach, 1)), chance.randint(1, 12)
        match chance.randrange(7):
            case 0 | 1:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = chance.randbytes(length)
            case 4:
                data[at : at + length] = chance.choice(TOKENS)
            case 5:
                digits = [i for i in range(at, min(at + 400, len(data))) if chr(data[i]).isdigit()]
                if digits:
                    data[digits[0] : digits[0] + 1] = chance.choice([*TOKENS, b"1", b"7"])
            case _:
                if chance.random() < 0.3:
                    del data[at:]
    return bytes(data)


def value_mutated(content: Any, chance: random.Random) -> Any:
    """The same nested mappings and lists with one value replaced, dropped or doubled."""
    places: list[tuple[Any, Any]] = []
    todo = [content]
    while todo:
        item = todo.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else []
        places += [(item, key) for key in keys]
        todo += [item[key] for key in keys]
    if not places:
        return chance.choice(VALUES)
    parent, key = chance.choice(places)
    action = chance.randrange(6)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[key] = chance.choice(VALUES)
    return content


def _json(content: bytes, chance: random.Random) -> bytes:
    return json.dumps(value_mutated(json.loads(content), chance)).encode()


def _yaml(content: bytes, chance: random.Random) -> bytes:
    return yaml.safe_dump(value_mutated(yaml.safe_load(content), chance)).encode()


def _safetensors(content: bytes, chance: random.Random) -> bytes:
    """The header, or within it one of our metadata texts."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if chance.random() < 0.8:
        key = chance.choice(sorted(header["__metadata__"]))
        text = value_mutated(json.loads(header["__metadata__"][key]), chance)
        header["__metadata__"][key] = json.dumps(text)
    else:
        header = value_mutated(header, chance)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _numbers(content: bytes, chance: random.Random) -> bytes:
    """One number of a text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    one = chance.choice(found) if found else None
    return content if one is None else content[: one.start()] + chance.choice(TOKENS) + content[one.end() :]


STRUCTURED = {".json": _json, ".yaml": _yaml, ".safetensors": _safetensors, ".xml": _numbers, ".txt": _numbers}


def fuzz(cases: int, seed: int, home: Path) -> Findings:
    """Run that many cases in this process; ``home`` is an empty folder."""
    chance, watch, findings = random.Random(seed), Watch(), Findings()
    seeds(home / "whole")
    every = targets(home / "whole")
    with few_words():
        for number in range(cases):
            target = every[number % len(every)]
            case, out = home / "case", home / "out"
            shutil.copytree(home / "whole", case)
            out.mkdir()
            file = case / target.file
            file.write_bytes(mutated(file.read_bytes(), file.suffix, chance))
            outcome, wrong, seconds = watched(target, case, out, watch)
            findings.slowest_s = max(findings.slowest_s, seconds)
            findings.outcomes.setdefault(target.name, Counter())[outcome.split(":")[0]] += 1
            findings.faults += [f"case {number}, {target.name}: {fault}" for fault in wrong]
            shutil.rmtree(case)
            shutil.rmtree(out)
    return findings


def watched(target: Target, case: Path, out: Path, watch: Watch) -> tuple[str, list[str], float]:
    """One case: its outcome, what must not have been, and its seconds."""
    before, started = fingerprint(case), time.monotonic()
    tempfile.tempdir = str(out)  # what calibration keeps for a while is kept there
    try:
        with watch.looking(out) as seen, little_memory():
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
            outcome = attempt(target, case, out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        tempfile.tempdir = None
    seconds = time.monotonic() - started
    wrong = [*seen, *(["the input was changed"] if fingerprint(case) != before else [])]
    wrong += [outcome] if ":" in outcome else []
    wrong += [f"{seconds:.1f} s"] if seconds > LIMIT_S else []
    return outcome, wrong, seconds


@contextmanager
def few_words() -> Iterator[None]:
    """No warnings in the log; an alarm raises."""
    logger = logging.getLogger("spikedet")
    level, handler = logger.level, signal.signal(signal.SIGALRM, _too_long)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        signal.signal(signal.SIGALRM, handler)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {LIMIT_S:.0f} s")


@contextmanager
def little_memory(more_bytes: int = 4 * 2**30) -> Iterator[None]:
    """A file that asks for more than this gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(target: Target, case: Path, out: Path) -> str:
    """``success``, the name of one of our errors, or ``NAME: message`` of a foreign one."""
    try:
        target.read(case, out)
    except SpikedetError as error:
        return type(error).__name__
    except Exception as error:  # that is what we are looking for; too long and too large are among them
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "success"


def fingerprint(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of everything under a folder."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def rows(findings: Findings) -> list[dict[str, Any]]:
    """Outcomes by kind of file, as they are published."""
    return [{"file": name, "outcomes": dict(counts)} for name, counts in findings.outcomes.items()]


def main() -> None:
    """Parse the flags and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish", action="store_true", help="also write docs/results/fuzz.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        findings = fuzz(arguments.cases, arguments.seed, Path(name))
    print(fuzz_table(rows(findings)))
    print(f"\nslowest case {findings.slowest_s:.1f} s; {len(findings.faults)} faults")
    if findings.faults:
        raise SystemExit("\n".join(findings.faults))
    if arguments.publish:
        meta = {"versions": versions(), "cases": arguments.cases, "seed": arguments.seed}
        meta["slowest_s"] = round(findings.slowest_s, 1)
        print("published", write_json(ROOT / "docs/results/fuzz.json", {"meta": meta, "rows": rows(findings)}))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Kills every verb that resumes at random moments, resumes it, and compares what comes out.

    python benchmarks/kill.py [--kills 75] [--seed 0] [--publish]

A run is killed (SIGKILL) and started again with ``--resume`` until it ends by itself; its tensors or rows are compared
with those of a run that was left alone. Lost work is the time that all its attempts took beyond that run, per kill.
``--publish`` writes docs/results/kill.json, from which the table in docs/pipeline.md is made.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from readme_tables import ROOT
from tables import kill_table

from spikedet.checkpoint import load_checkpoint
from spikedet.common.environment import versions
from spikedet.common.files import write_json
from spikedet.evaluation import read_results

DATA = "synthetic:train=24,val=8,test=16,size=64"
ARCHITECTURE = {
    "nc": 4,
    "activation": "torch.nn.ReLU()",
    "reg_max": 4,
    "backbone": [[-1, 1, "Conv", [c, 3, 2]] for c in (8, 16, 16, 16)],
    "head": [[[-1], 1, "Detect", ["nc"]]],
}
TRAINING = "--held-out 0.25 --batch 4 --warmup-epochs 0 --close-mosaic 2"
COMMANDS = {
    "train": f"train --data {DATA} --model model.yaml --image-size 64 {TRAINING} --epochs 6 --out out",
    "finetune": f"finetune base/ann.safetensors --T 4 {TRAINING} --epochs 6 --theta-images 4 --out out",
    "calibrate": "calibrate base/copied.safetensors --images 16 --epochs 3 --batch 4 --crop 8 --out out",
    "joint": "joint base/fine.safetensors --epochs 4 --batch 4 --held-out 0.25 --out out",
    "convert": "convert base/ann.safetensors --T 4 --theta-images 4 --finetune --finetune-epochs 3 --calibrate "
    "--images 16 --epochs 3 --joint --joint-epochs 3 --out out",
    "evaluate": "evaluate base --split test --t 2,4 --draws 20 --batch 2 --out out",
}
BASE = (
    f"train --data {DATA} --model model.yaml --image-size 64 {TRAINING} --epochs 1 --out base",
    "convert base/ann.safetensors --T 4 --theta-images 4 --calibrate --images 8 --epochs 1",
)


@dataclass(frozen=True)
class Outcome:
    """What kills did to one verb.

    Attributes:
        verb: the command.
        runs: that were killed, each at least once.
        kills: over all runs.
        alone_s: seconds of a run that was left alone, after its imports.
        lost_s: mean seconds of work lost by a kill.
        identical: runs whose result is that of the run left alone.
    """

    verb: str
    runs: int
    kills: int
    alone_s: float
    lost_s: float
    identical: int


def work(folder: str, words: Sequence[str]) -> None:
    """One command in a process of its own."""
    from spikedet.cli.main import main

    os.chdir(folder)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    sys.exit(main(words))


def attempt(folder: Path, command: str, kill_after_s: float | None = None) -> tuple[bool, float]:
    """Run a command, killed after that many seconds; whether it came to its end, and the seconds it ran."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["kill", "spikedet.commands.convert", "spikedet.commands.evaluate"]
    )  # imports are paid for once
    process = context.Process(target=work, args=(str(folder), command.split()))
    started = time.monotonic()
    process.start()
    process.join(kill_after_s)
    if process.is_alive():
        process.kill()
        process.join()
        return False, time.monotonic() - started
    if process.exitcode:
        raise RuntimeError(f"{command}: exit status {process.exitcode}")
    return True, time.monotonic() - started


def prepare(folder: Path) -> None:
    """The inputs of every command."""
    (folder / "model.yaml").write_text(yaml.safe_dump(ARCHITECTURE), "utf-8")
    for command in BASE:
        attempt(folder, command)


def killed(folder: Path, verb: str, kills: int, chance: random.Random, *, warm_up: bool = True) -> Outcome:
    """Run a verb again and again until this many kills have hit it."""
    command = COMMANDS[verb]
    shutil.rmtree(folder / "out", ignore_errors=True)
    if warm_up:  # the first run pays for what is loaded late
        attempt(folder, command)
        shutil.rmtree(folder / "out")
    _, alone_s = attempt(folder, command)
    expected = result(folder / "out")
    runs = identical = hits = 0
    spent = 0.0
    while hits < kills:
        shutil.rmtree(folder / "out")
        runs, done = runs + 1, False
        while not done:
            limit = chance.uniform(0, alone_s) if hits < kills else None
            done, seconds = attempt(folder, f"{command} --resume", limit)
            hits, spent = hits + (not done), spent + seconds
        identical += same(result(folder / "out"), expected)
    return Outcome(verb, runs, hits, alone_s, max(spent - runs * alone_s, 0.0) / max(hits, 1), identical)


def result(folder: Path) -> dict[str, object]:
    """Tensors of every checkpoint, and rows."""
    found: dict[str, object] = {
        path.name: load_checkpoint(path)[0]
        for path in sorted(folder.glob("[!.]*.safetensors"))  # a killed write may leave its hidden, unfinished file
        if not path.name.endswith("-state.safetensors")
    }
    if (folder / "results.json").exists():
        found["rows"] = read_results(folder / "results.json")[1]
    return found


def same(a: object, b: object) -> bool:
    """Bit by bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


def main() -> None:
    """Parse the flags and kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=75, help="over all verbs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--publish", action="store_true", help="also write docs/results/kill.json")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        share = -(-arguments.kills // len(COMMANDS))
        outcomes = [killed(Path(name), verb, share, chance) for verb in COMMANDS]
    rows = [asdict(outcome) for outcome in outcomes]
    print(kill_table(rows))
    if arguments.publish:
        meta = {"versions": versions(), "kills": arguments.kills, "seed": arguments.seed}
        print("published", write_json(ROOT / "docs/results/kill.json", {"meta": meta, "rows": rows}))


if __name__ == "__main__":
    main()

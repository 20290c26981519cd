#!/usr/bin/env python3
"""The same commands in one process and in several under torchrun: seconds, and what came out.

    python benchmarks/scaling.py [--processes 1,2] [--data synthetic] [--epochs 40] [--out runs/scaling] [--publish]

The threads of this machine are shared out, so that every row has the same cores. All calibrations and evaluations work
on the network that the first training made; trainings differ by what batch normalization sees and by their noise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from readme_tables import ROOT
from subjects import child_environment
from tables import scaling_table

from spikedet.checkpoint import load_checkpoint
from spikedet.common.environment import versions
from spikedet.common.files import write_json
from spikedet.evaluation import read_results


def threads(processes: int) -> int:
    """Of each of so many processes."""
    return max(1, torch.get_num_threads() // processes)


def run(processes: int, arguments: list[str]) -> float:
    """Seconds of one command."""
    command = ["-m", "spikedet", *arguments]
    if processes > 1:
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *command]
    environment = child_environment(threads(processes))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), environment.get("PYTHONPATH")]))
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def distance(first: Path, second: Path) -> float:
    """Root of the sum of squares by which two checkpoints' tensors differ."""
    one, two = load_checkpoint(first)[0], load_checkpoint(second)[0]
    return sum(float((one[name] - two[name]).double().square().sum()) for name in one) ** 0.5


def ap_of(folder: Path, stage: str) -> str:
    """AP50:95 of a stage in a folder's table, at its last time step."""
    rows = [row for row in read_results(folder / "results.json")[1] if row.stage == stage]
    return f"AP50:95 {rows[-1].AP or 0.0:.1f}"


def main() -> None:
    """One row per command and number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--model", default="tiny-yolo-nano")
    parser.add_argument("--image-size", default="160")
    parser.add_argument("--split", default="test", help="what evaluate evaluates")
    parser.add_argument("--epochs", default="40")
    parser.add_argument("--images", default="32", help="calibration images")
    parser.add_argument("--out", default="runs/scaling")
    parser.add_argument("--publish", action="store_true", help="also write docs/results/scaling.json")
    arguments = parser.parse_args()
    out = Path(arguments.out)
    counts = [int(count) for count in arguments.processes.split(",")]
    source = out / f"train-{counts[0]}"
    train = ["train", "--model", arguments.model, "--data", arguments.data, "--image-size", arguments.image_size]
    train += ["--epochs", arguments.epochs, "--batch", "16", "--lr", "2e-3"]
    calibrate = ["calibrate", str(source / "copied.safetensors"), "--images", arguments.images, "--epochs", "5"]
    rows = []

    def measure(name: str, processes: int, command: list[str]) -> Path:
        folder = out / f"{name}-{processes}"
        seconds = run(processes, [*command, "--out", str(folder)])
        shape = {"processes": processes, "threads": threads(processes)}
        rows.append({"command": name, **shape, "seconds": round(seconds, 1)})
        return folder

    evaluate = ["--split", arguments.split, "--draws", "20"]
    for processes in counts:
        folder = measure("train", processes, train)
        run(1, ["evaluate", str(folder / "ann.safetensors"), *evaluate, "--out", str(folder)])
        rows[-1]["result"] = ap_of(folder, "ann")
    run(1, ["convert", str(source / "ann.safetensors"), "--T", "8"])
    calibrated = out / f"calibrate-{counts[0]}" / "fine.safetensors"
    for processes in counts:
        folder = measure("calibrate", processes, calibrate)
        made = folder / "fine.safetensors"
        run(1, ["evaluate", str(made), *evaluate, "--out", str(folder)])
        part = distance(calibrated, made) / distance(source / "copied.safetensors", calibrated)
        rows[-1]["result"] = f"{ap_of(folder, 'fine')}; apart by {100 * part:.0f} % of the way that tensors moved"
    for processes in counts:
        folder = measure("evaluate", processes, ["evaluate", str(calibrated), *evaluate, "--t", "2,4,8"])
        rows[-1]["result"] = ap_of(folder, "fine")
    print(scaling_table(rows))
    if arguments.publish:
        settings = {k: v for k, v in vars(arguments).items() if k not in ("out", "publish")}
        meta = {"versions": versions(), "settings": settings}
        print("published", write_json(ROOT / "docs/results/scaling.json", {"meta": meta, "rows": rows}))


if __name__ == "__main__":
    main()

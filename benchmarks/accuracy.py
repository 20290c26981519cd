#!/usr/bin/env python3
"""One experiment from pictures to table: train, Stage I, convert, Stage II, judge; skips the steps already done.

    python benchmarks/accuracy.py configs/experiments/bccd.yaml --data PATH/TO/BCCD --out runs/bccd

Prints the table and writes docs/results/NAME.json (``--publish``) from the same rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml
from readme_tables import publish

from spikedet.config import ConvertConfig, EvaluateConfig, FinetuneConfig, Neuron, TrainConfig
from spikedet.convert import convert
from spikedet.errors import ConfigError
from spikedet.evaluate import evaluate
from spikedet.training import finetune, train

KEYS = {"name", "split", "limit", "train", "finetune", "calibrate", "networks"}


def run(experiment: dict[str, Any], data: str, out: Path) -> Path:
    """Every step of an experiment; returns the path of its ``results.json``."""
    if unknown := sorted(experiment.keys() - KEYS):
        raise ConfigError(f"unknown key {unknown[0]!r} in the experiment; known keys are {', '.join(sorted(KEYS))}")
    source = out / "source" / "ann.safetensors"
    train(TrainConfig(data=data, out=str(source.parent), resume=True, **experiment["train"]))
    for name, settings in experiment["finetune"].items():
        stage1(out, name, **settings)
    folders = [source.parent, *(spiking(out, experiment["calibrate"], **network) for network in experiment["networks"])]
    judged = EvaluateConfig(
        checkpoints=tuple(str(folder) for folder in folders),
        data=data,
        split=experiment["split"],
        limit=experiment.get("limit", 0),
        out=str(out / "results"),
    )
    evaluate(judged)
    return out / "results" / "results.json"


def stage1(out: Path, name: str, *, after: str | None = None, **settings: Any) -> Path:
    """One Stage I, from the source or after another one."""
    start = out / after / "qc.safetensors" if after else out / "source" / "ann.safetensors"
    return finetune(FinetuneConfig(checkpoint=str(start), out=str(out / name), resume=True, **settings))


def spiking(
    out: Path,
    calibrate: dict[str, Any],
    *,
    stage1: str,
    T: int,
    neuron: Neuron = "if",
    delay: int = 0,
    calibrated: bool = True,
    images: int | None = None,
) -> Path:
    """The folder of one network: converted from the Stage I in ``stage1`` for T time steps, calibrated or not."""
    folder = out / f"{stage1}-{neuron}-T{T}-delay{delay}"
    if not (folder / ("fine.safetensors" if calibrated else "copied.safetensors")).exists():
        settings = ConvertConfig(
            checkpoint=str(out / stage1 / "qc.safetensors"),
            T=T,
            neuron=neuron,
            delay=delay,
            calibrate=calibrated,
            out=str(folder),
            **(calibrate | ({"images": images} if images else {})),
        )
        convert(settings)
    return folder


def main() -> None:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--data", required=True, help="folder with the pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--publish", action="store_true", help="also write docs/results/NAME.json")
    arguments = parser.parse_args()
    experiment = yaml.safe_load(arguments.experiment.read_text(encoding="utf-8"))
    results = run(experiment, arguments.data, arguments.out)
    if arguments.publish:
        command = f"python benchmarks/accuracy.py {arguments.experiment} --data DATA --out OUT"
        print("published", publish(experiment["name"], results, command=command, config=experiment))


if __name__ == "__main__":
    main()

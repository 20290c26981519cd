#!/usr/bin/env python3
"""One experiment from pictures to table: train, Stage I, convert, Stage II, judge; skips the steps already done.

    python benchmarks/accuracy.py configs/experiments/bccd.yaml --data PATH/TO/BCCD --out runs/bccd

Prints the table and writes docs/results/NAME.json (``--publish``) from the same rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from spikedet.config import ConvertConfig, EvaluateConfig, FinetuneConfig, TrainConfig
from spikedet.conversion import load_spiking
from spikedet.convert import convert
from spikedet.errors import ConfigError
from spikedet.evaluate import evaluate
from spikedet.files import write_json
from spikedet.training import finetune, train

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
KEYS = {"name", "split", "limit", "train", "finetune", "calibrate", "time_steps", "signed", "delayed"}


def run(experiment: dict[str, Any], data: str, out: Path) -> Path:
    """Every step of an experiment; returns the path of its ``results.json``."""
    if unknown := sorted(experiment.keys() - KEYS):
        raise ConfigError(f"unknown key {unknown[0]!r} in the experiment; known keys are {', '.join(sorted(KEYS))}")
    source = out / "source" / "ann.safetensors"
    train(TrainConfig(data=data, out=str(source.parent), resume=True, **experiment["train"]))
    folders = [source.parent]
    longer: set[int] = set()
    for T in experiment["time_steps"]:
        stage1(source, T, experiment, out)
        folders.append(spiking(out, T, experiment, calibrate=True))
    for T in experiment["signed"]:
        stage1(source, T, experiment, out)
        folders.append(spiking(out, T, experiment, neuron="signed", calibrate=True))
    for row in experiment["delayed"]:
        stage1(source, row["T"], experiment, out)
        folders.append(spiking(out, row["T"], experiment, delay=row["delay"]))
        latency = load_spiking(folders[-1] / "copied.safetensors")[0].latency(row["T"])
        if (row["T"], latency) not in longer:
            folders.append(spiking(out, row["T"], experiment, window=latency))
    judged = EvaluateConfig(
        checkpoints=tuple(str(folder) for folder in folders),
        data=data,
        split=experiment["split"],
        limit=experiment.get("limit", 0),
        out=str(out / "results"),
    )
    evaluate(judged)
    return out / "results" / "results.json"


def stage1(source: Path, T: int, experiment: dict[str, Any], out: Path) -> Path:
    """Stage I at T levels."""
    folder = out / f"T{T}"
    return finetune(FinetuneConfig(checkpoint=str(source), T=T, out=str(folder), resume=True, **experiment["finetune"]))


def spiking(
    out: Path,
    T: int,
    experiment: dict[str, Any],
    *,
    neuron: str = "if",
    delay: int = 0,
    window: int | None = None,
    calibrate: bool = False,
) -> Path:
    """The folder of a network converted from Stage I at T levels, for ``window`` time steps (T unless given)."""
    name = f"T{T}-{neuron}" + (f"-delay{delay}" if delay else "") + (f"-window{window}" if window else "")
    folder = out / name
    last = folder / ("fine.safetensors" if calibrate else "copied.safetensors")
    if not last.exists():
        settings = ConvertConfig(
            checkpoint=str(out / f"T{T}" / "qc.safetensors"),
            T=window or T,
            neuron=neuron,  # type: ignore[arg-type]
            delay=delay,
            calibrate=calibrate,
            out=str(folder),
            **experiment["calibrate"],
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
        published = json.loads(results.read_text(encoding="utf-8"))
        published["meta"]["command"] = f"python benchmarks/accuracy.py {arguments.experiment} --data DATA --out OUT"
        published["meta"]["config"] = experiment
        published["meta"].pop("checkpoints", None)
        print("published", write_json(RESULTS / f"{experiment['name']}.json", published))


if __name__ == "__main__":
    main()

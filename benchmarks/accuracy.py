#!/usr/bin/env python3
"""One experiment from pictures to table: train, Stage I, convert, Stage II, judge; skips the steps already done.

Training goes on after its last epoch, networks are made and judged one by one: run it again until it is through.

    python benchmarks/accuracy.py configs/experiments/bccd.yaml --data PATH/TO/BCCD --out runs/bccd

Prints the table and writes docs/results/NAME.json (``--publish``) from the same rows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import yaml
from readme_tables import publish

from spikedet.checkpoint import file_sha256
from spikedet.config import ConvertConfig, EvaluateConfig, FinetuneConfig, Method, Neuron, TrainConfig
from spikedet.convert import convert
from spikedet.errors import ConfigError
from spikedet.evaluate import evaluate
from spikedet.evaluation import ResultRow, read_results, write_results
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
    rows: dict[str, ResultRow] = {}
    meta: dict[str, Any] = {}
    todo, started, made = len(experiment["networks"]), time.monotonic(), 0
    for number, network in enumerate(experiment["networks"], 1):
        reading = {key: network[key] for key in ("t", "limit") if key in network}
        folder = spiking(out, experiment["calibrate"], **{k: v for k, v in network.items() if k not in reading})
        results, fresh = judge(folder, out / "results" / folder.name, experiment, data, reading)
        made += fresh
        meta, found = read_results(results)
        rows |= {repr(row): row for row in found}  # the ANNs are judged with every network; once is enough
        left = (time.monotonic() - started) / max(made, 1) * (todo - number) / 60
        print(f"network {number} of {todo} is in {results}; at most {left:.0f} minutes left", flush=True)
    meta["checkpoints"] = {}
    ordered = sorted(rows.values(), key=lambda row: row.stage not in ("ann", "qc"))  # stable: the ANNs first
    return write_results(out / "results" / "results.json", meta, ordered)


def judge(
    folder: Path, into: Path, experiment: dict[str, Any], data: str, reading: dict[str, Any]
) -> tuple[Path, bool]:
    """Results of the networks in one folder and the ANNs they came from, and whether they are new.

    Results that are there already stand, as long as the checkpoints are those that were judged.
    """
    results = into / "results.json"
    digests = {file_sha256(path) for path in folder.glob("*.safetensors")}
    if results.exists() and digests <= set(read_results(results)[0]["checkpoints"].values()):
        return results, False
    limit = reading.get("limit", experiment.get("limit", 0))
    evaluate(
        EvaluateConfig(
            checkpoints=(str(folder),),
            data=data,
            split=experiment["split"],
            t=reading.get("t", ""),
            limit=limit,
            out=str(into),
        )
    )
    return results, True


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
    method: Method = "two-stage",
    neuron: Neuron = "if",
    delay: int = 0,
    calibrated: bool = True,
    images: int | None = None,
) -> Path:
    """The folder of one network, converted for T steps from the Stage I in ``stage1`` (``source``: without one)."""
    calibrated = calibrated and method == "two-stage"
    folder = out / f"{stage1}-{neuron}-T{T}-delay{delay}{'' if method == 'two-stage' else f'-{method}'}"
    if not (folder / ("fine.safetensors" if calibrated else "copied.safetensors")).exists():
        settings = ConvertConfig(
            checkpoint=str(out / stage1 / ("ann.safetensors" if stage1 == "source" else "qc.safetensors")),
            T=T,
            method=method,
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

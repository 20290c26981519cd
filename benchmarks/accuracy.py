#!/usr/bin/env python3
"""One experiment from images to table: train, Stage I, convert, Stage II, evaluate; skips the steps already done.

Training goes on after its last epoch, networks are made and evaluated one by one: run it again until it is through.

    python benchmarks/accuracy.py configs/experiments/bccd.yaml --data PATH/TO/BCCD --out runs/bccd

Prints the table; ``--publish`` writes docs/results/NAME.json and .md and docs/images/NAME.png from the same rows;
``--download`` first fetches PASCAL VOC; ``--data`` must then end in VOCdevkit. ``--source`` takes a source that is
trained already, for example one of weights/, in place of training one, and ``--stage1 T4-distill=FILE`` a Stage I of
that source. ``--only 2,5`` makes and evaluates these networks alone, so that processes can share the work; ``--so-far``
makes the table of all that are evaluated already.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from ablations import plot_ap_by_images, plot_frontier, plot_parts
from experiment import SOURCE, Experiment, NetworkSettings, load_experiment, trained, training_seconds
from readme_tables import ROOT, publish
from tables import versus_paper

from spikedet.checkpoint import load_checkpoint, save_checkpoint
from spikedet.checkpoint.metadata import Parent
from spikedet.cli.messages import print_messages
from spikedet.commands.calibrate import calibrate
from spikedet.commands.convert import convert
from spikedet.commands.data_download import data_download
from spikedet.commands.evaluate import evaluate
from spikedet.commands.finetune import finetune
from spikedet.commands.joint import joint
from spikedet.commands.train import train
from spikedet.common.digests import file_sha256
from spikedet.common.errors import ConfigError
from spikedet.common.files import atomic_path
from spikedet.config import (
    SPIKING_STAGES,
    CalibrateConfig,
    ConvertConfig,
    DownloadConfig,
    EvaluateConfig,
    FinetuneConfig,
    JointConfig,
    Stage,
    TrainConfig,
)
from spikedet.evaluation import ResultRow, markdown_table, read_results, write_results
from spikedet.visualization.curves import plot_ap_by_class, plot_ap_by_t

TRAINED = tuple(stage for stage in get_args(Stage) if stage not in SPIKING_STAGES)
"""Stages of networks that are not converted."""
PLOTS = {
    "t": plot_ap_by_t,
    "images": plot_ap_by_images,
    "class": plot_ap_by_class,
    "parts": plot_parts,
    "frontier": plot_frontier,
}


def run(
    experiment: Experiment,
    data: str,
    out: Path,
    source: Path | None = None,
    workers: int = 0,
    given: Mapping[str, Path] = MappingProxyType({}),
) -> Path:
    """Every step of an experiment; returns its ``results.json``.

    Args:
        experiment: what to make.
        data: folder with the images.
        out: folder of everything that is made.
        source: trained already, in place of training one.
        workers: data-loading processes in training.
        given: by name, Stage I checkpoints that are not made again.
    """
    loading = {"workers": workers} if workers else {}
    if source:
        if SOURCE not in experiment.sources:
            raise ConfigError(f"--source: {experiment.name} has sources of its own, {', '.join(experiment.sources)}")
        with atomic_path(out / SOURCE / "ann.safetensors") as copy:
            shutil.copyfile(source, copy)
    for name, settings in experiment.sources.items():
        if not (source and name == SOURCE):
            train(
                TrainConfig(
                    data=data,
                    out=str(out / name),
                    resume=True,
                    **{"weights": "none", **loading, **experiment.train, **settings},
                )
            )
    for name, settings in experiment.finetune.items():
        if name in given:
            parent = out / settings.get("source", SOURCE) / "ann.safetensors"
            adopt(given[name], out / name / trained(experiment, name), parent)
        else:
            stage1(out, name, data, **{**loading, **settings})
    evaluated: list[Path] = []
    todo, started, made = len(experiment.networks), time.monotonic(), 0
    for number, network in enumerate(experiment.networks, 1):
        folder = spiking(out, network, experiment, data)
        results, fresh = evaluate_network(folder, out / "results", experiment, data, network)
        evaluated, made = [*evaluated, results], made + fresh
        left = (time.monotonic() - started) / max(made, 1) * (todo - number) / 60
        print(f"network {number} of {todo} is in {results}; at most {left:.0f} minutes left", flush=True)
    return gather(experiment, evaluated, out)


def so_far(experiment: Experiment, out: Path) -> Path:
    """``results.json`` of the networks that are evaluated already. Raises ConfigError if none is."""
    found = [out / "results" / results_folder(network) / "results.json" for network in experiment.networks]
    evaluated = [results for results in found if results.exists()]
    if not evaluated:
        raise ConfigError(f"{out}: no network of {experiment.name} is evaluated yet; run without --so-far")
    print(f"{len(evaluated)} of {len(found)} networks are evaluated", flush=True)
    return gather(experiment, evaluated, out)


def with_only(experiment: Experiment, numbers: str, given: Collection[str] = ()) -> Experiment:
    """The experiment with some of its networks and what they are made from: "2,5" are the second and the fifth.

    An empty text is all of them. What only the Stage I runs that are ``given`` were made from is left out.
    """
    if unknown := sorted(set(given) - experiment.finetune.keys()):
        raise ConfigError(f"--stage1 {unknown[0]}: {experiment.name} has {', '.join(experiment.finetune) or 'none'}")
    numbered = dict(enumerate(experiment.networks, 1))
    try:
        networks = tuple(numbered[int(number)] for number in numbers.split(",")) if numbers else experiment.networks
    except (ValueError, KeyError) as error:
        raise ConfigError(f"--only {numbers}: expected numbers from 1 to {len(numbered)}") from error
    needed = {network.stage1 for network in networks}
    for name, settings in reversed(experiment.finetune.items()):  # a run stands below the one that it goes on from
        if name in given:
            needed |= {settings.get("source", SOURCE)}
        elif name in needed:
            needed |= {settings.get("source", SOURCE), settings.get("after", name)}
    finetune = {name: settings for name, settings in experiment.finetune.items() if name in needed}
    sources = {name: settings for name, settings in experiment.sources.items() if name in needed}
    return dataclasses.replace(experiment, networks=networks, finetune=finetune, sources=sources)


def gather(experiment: Experiment, evaluated: Sequence[Path], out: Path) -> Path:
    """One ``results.json`` from those of single networks."""
    rows: list[ResultRow] = []
    meta: dict[str, Any] = {}
    listed: dict[str, list[str]] = {}  # the images of rows that are not evaluated on the whole split
    for results in evaluated:
        meta, found = read_results(results)
        images = meta.get("images")
        listed |= {str(len(images)): images} if images else {}
        # The ANNs are evaluated with every network, once is enough; another experiment may have other stages too.
        rows += [row for row in found if row.stage in (*TRAINED, *experiment.stages) and row not in rows]
    whole = f"{len(evaluated)} of {len(experiment.networks)} networks"
    meta = {**meta, "checkpoints": {}, "images": listed, "evaluated": whole}
    ordered = sorted(rows, key=lambda row: row.stage not in TRAINED)  # stable: the ANNs first
    return write_results(out / "results" / experiment.name / "results.json", meta, ordered)


def results_folder(network: NetworkSettings) -> str:
    """Name of the folder of a network's results; others are where it is read out at other t or on fewer images."""
    steps, limit = network.t.replace(",", "_"), network.limit
    return "-".join([network.folder, *([f"t{steps}"] if steps else []), *([f"first{limit}"] if limit else [])])


def evaluate_network(
    folder: Path, into: Path, experiment: Experiment, data: str, network: NetworkSettings
) -> tuple[Path, bool]:
    """Results of the networks of one folder and the ANNs they came from, and whether they are new.

    Results that are there already stand, as long as checkpoints and settings are those that were evaluated.
    """
    checkpoints = [path for stage in experiment.stages if (path := folder / f"{stage}.safetensors").exists()]
    config = EvaluateConfig(
        checkpoints=tuple(map(str, checkpoints)),
        data=data,
        split=experiment.split,
        t=network.t,
        limit=network.limit,
        resume=True,
        detections=str(into / "detections"),
        out=str(into / results_folder(network)),
    )
    results = Path(config.out) / "results.json"
    digests = set(map(file_sha256, checkpoints))
    if results.exists():
        meta, rows = read_results(results)
        asked = {key: getattr(config, key) for key in ("split", "t", "limit")}
        known = digests <= set(meta["checkpoints"].values()) and asked.items() <= meta["config"].items()
        if known and all(
            row.checkpoint for row in rows
        ):  # earlier versions did not name them: evaluated from detections
            return results, False
    evaluate(config)
    return results, True


def stage1(out: Path, name: str, data: str, *, source: str = SOURCE, after: str | None = None, **settings: Any) -> Path:
    """One Stage I, from a source or after another one; what it distils, if it does, is the source."""
    teacher = out / source / "ann.safetensors"
    start = out / after / "qc.safetensors" if after else teacher
    settings = {"teacher": str(teacher), **settings}
    return finetune(FinetuneConfig(checkpoint=str(start), data=data, out=str(out / name), resume=True, **settings))


def adopt(checkpoint: Path, path: Path, source: Path) -> None:
    """A trained Stage I with the source that it came from named as its parent, so that losses are against that."""
    tensors, meta = load_checkpoint(checkpoint)
    parent: Parent = {"file": str(source.resolve()), "sha256": file_sha256(source), "stage": "ann"}
    save_checkpoint(path, tensors, dataclasses.replace(meta, parent=parent))


def seconds(experiment: Experiment, out: Path) -> dict[str, float]:
    """By the digest of a converted or calibrated checkpoint, how long its last training took, where a log says so."""
    found: dict[str, float] = {}
    for network in experiment.networks:
        log = out / network.stage1 / trained(experiment, network.stage1).replace(".safetensors", "-log.csv")
        if log.exists():
            folders = {network.folder, network.layerwise, network.converted}
            made = [path for folder in folders for path in (out / folder).glob("*.safetensors")]
            found |= dict.fromkeys(map(file_sha256, made), round(training_seconds(log), 1))
    return found


def stage1_files(said: Sequence[str]) -> dict[str, Path]:
    """``NAME=FILE`` by name."""
    for text in said:
        if "=" not in text:
            raise ConfigError(f"--stage1 {text}: expected NAME=FILE")
    return {name: Path(file) for name, _, file in (text.partition("=") for text in said)}


def spiking(out: Path, network: NetworkSettings, experiment: Experiment, data: str) -> Path:
    """The folder of one network, converted and calibrated unless it is there already."""
    folder, copied = out / network.folder, out / network.converted / "copied.safetensors"
    if not copied.exists():
        convert(
            ConvertConfig(
                checkpoint=str(out / network.stage1 / trained(experiment, network.stage1)),
                T=network.T,
                method=network.method,
                neuron=network.neuron,
                delay=network.delay,
                latency=network.latency,
                max_pool=network.max_pool,
                data=data,
                seed=network.seed,
                out=str(copied.parent),
            )
        )
    settings = {"seed": network.seed, "resume": True, **experiment.calibrate, **network.calibrate}
    config = CalibrateConfig(checkpoint=str(copied), data=data, out=str(out / network.layerwise), **settings)
    last = Path(config.out) / ("fine.safetensors" if config.fine else "coarse.safetensors")
    layerwise = network.calibrated and network.method == "two-stage"
    if layerwise and not last.exists():
        calibrate(config)
    if network.joint is not None and not (folder / "joint.safetensors").exists():
        settings = {"seed": network.seed, "resume": True, **experiment.joint, **network.joint}
        joint(JointConfig(checkpoint=str(last if layerwise else copied), data=data, out=str(folder), **settings))
    return folder


def experiment_parser(description: str | None) -> argparse.ArgumentParser:
    """The flags of every command that runs an experiment."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--data", required=True, help="folder with the images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source", type=Path, help="checkpoint of a trained source, in place of training one")
    parser.add_argument(
        "--stage1", action="append", default=[], metavar="NAME=FILE", help="a trained Stage I, in place of training it"
    )
    parser.add_argument("--only", default="", help="numbers of the networks to make, from 1: for example 2,5")
    parser.add_argument("--workers", type=int, default=0, help="data-loading processes in training; see spikedet train")
    parser.add_argument("--publish", action="store_true", help="also write docs/results and docs/images")
    return parser


def main() -> None:
    """Parse the flags and run."""
    parser = experiment_parser(__doc__)
    parser.add_argument(
        "--so-far", action="store_true", help="only gather what is evaluated already, and do nothing else"
    )
    parser.add_argument("--download", action="store_true", help="first fetch PASCAL VOC into the folder above --data")
    arguments = parser.parse_args()
    print_messages()
    given = stage1_files(arguments.stage1)
    experiment = with_only(load_experiment(arguments.experiment), arguments.only, given)
    if arguments.download:
        data_download(DownloadConfig(out=str(Path(arguments.data).parent)))
    if arguments.so_far:
        results = so_far(experiment, arguments.out)
    else:
        results = run(experiment, arguments.data, arguments.out, arguments.source, arguments.workers, given)
    rows = read_results(results)[1]
    print(markdown_table(rows))
    if experiment.paper:
        print(versus_paper(rows, experiment.paper))
    PLOTS[experiment.plot](rows, results.with_name(f"{experiment.name}.png"))
    if arguments.publish:
        command = f"python benchmarks/accuracy.py {arguments.experiment} --data DATA --out OUT"
        facts = {"config": dataclasses.asdict(experiment), "training_seconds": seconds(experiment, arguments.out)}
        print("published", publish(experiment.name, results, command=command, **facts))
        PLOTS[experiment.plot](rows, ROOT / "docs" / "images" / f"{experiment.name}.png")


if __name__ == "__main__":
    main()

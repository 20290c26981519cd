#!/usr/bin/env python3
"""Why the networks of an experiment lose AP, and what their spikes cost: `spikedet explain`, `spikedet energy`.

    python benchmarks/explain_energy.py configs/experiments/voc_energy.yaml --data PATH/TO/VOCdevkit --out runs/voc

The experiment's networks are made and judged first, unless they are already; ``--source`` and ``--stage1`` are as in
accuracy.py. The first ``--explain`` of them are explained on training pictures. All are read at their own T for energy,
on the first ``--limit`` pictures of the split. Prints the first table of energy; ``--publish`` writes explain_NAME and
energy_NAME into docs/results (JSON and Markdown) and docs/images (a plot of each).
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from accuracy import experiment_parser, run, spiking, stage1_files, with_only
from experiment import Experiment, load_experiment
from readme_tables import ROOT
from tables import first_table

from spikedet.config import SPIKING_STAGES, EnergyConfig, ExplainConfig
from spikedet.energy import energy
from spikedet.explain import explain
from spikedet.files import write_json, write_text

SPLIT_PLOT = "explain-3-split.png"


def checkpoint(folder: Path) -> Path:
    """The last stage in a network's folder."""
    stages = [folder / f"{stage}.safetensors" for stage in SPIKING_STAGES]
    return [path for path in stages if path.exists()][-1]


def explained(experiment: Experiment, folders: list[Path], data: str, out: Path) -> dict[Path, dict[str, Any]]:
    """Folders with an explanation of each network, and how long that took."""
    made: dict[Path, dict[str, Any]] = {}
    for folder in folders:
        into = out / "explain" / folder.name
        started = time.perf_counter()
        explain(
            ExplainConfig(checkpoint=str(checkpoint(folder)), data=data, split=experiment.train["split"], out=str(into))
        )
        made[into] = {"seconds": round(time.perf_counter() - started), "threads": torch.get_num_threads()}
        print(f"{folder.name}: explained in {made[into]['seconds']} s", flush=True)
    return made


def measured(experiment: Experiment, folders: list[Path], results: Path, data: str, limit: int, out: Path) -> Path:
    """Folder with the energy of every network."""
    into = out / "energy" / experiment.name
    checkpoints = tuple(str(checkpoint(folder)) for folder in folders)
    config = EnergyConfig(
        checkpoints=checkpoints,
        data=data,
        split=experiment.split,
        limit=limit,
        results=str(results),
        out=str(into),
    )
    energy(config)
    return into


def published(name: str, kind: str, folders: dict[Path, dict[str, Any]], plot: str, command: str) -> None:
    """``docs/results/KIND_NAME``: the reports of these folders, one after the other, without this machine's paths.

    Args:
        name: of the experiment.
        kind: ``explain`` or ``energy``.
        folders: with what is to be said of each report.
        plot: the picture that is published, of the first.
        command: what makes them.
    """
    reports = [json.loads((folder / f"{kind}.json").read_text(encoding="utf-8")) for folder in folders]
    for report, more in zip(reports, folders.values(), strict=True):
        meta = {key: report["meta"][key] for key in ("versions", "reference") if key in report["meta"]}
        report["meta"] = {**meta, **more, "checkpoints": digests(report["meta"]["checkpoints"]), "command": command}
    base = ROOT / "docs" / "results" / f"{kind}_{name}.json"
    write_json(base, {"reports": reports})
    texts = [(folder / f"{kind}.md").read_text(encoding="utf-8") for folder in folders]
    write_text(base.with_suffix(".md"), "\n".join(texts))
    shutil.copyfile(next(iter(folders)) / plot, ROOT / "docs" / "images" / f"{kind}_{name}.png")


def digests(checkpoints: dict[str, Any]) -> dict[str, str]:
    """SHA-256 by ``FOLDER/NAME`` of the checkpoints of a report, which has them by path or by role."""
    files = [(path, digest) if isinstance(digest, str) else digest for path, digest in checkpoints.items()]
    return {"/".join(Path(path).parts[-2:]): digest for path, digest in files}


def main() -> None:
    """Parse the flags and run."""
    parser = experiment_parser(__doc__)
    parser.add_argument("--explain", type=int, default=2, help="how many of the networks are explained")
    parser.add_argument("--limit", type=int, default=200, help="pictures for energy")
    arguments = parser.parse_args()
    given = stage1_files(arguments.stage1)
    experiment = with_only(load_experiment(arguments.experiment), "", given)
    results = run(experiment, arguments.data, arguments.out, arguments.source, arguments.workers, given)
    folders = [spiking(arguments.out, network, experiment, arguments.data) for network in experiment.networks]
    explanations = explained(experiment, folders[: arguments.explain], arguments.data, arguments.out)
    costs = measured(experiment, folders, results, arguments.data, arguments.limit, arguments.out)
    print(first_table((costs / "energy.md").read_text(encoding="utf-8")))
    if arguments.publish:
        name = experiment.name.removesuffix("_energy")
        command = f"python benchmarks/explain_energy.py {arguments.experiment} --data DATA --out OUT"
        if explanations:
            published(name, "explain", explanations, SPLIT_PLOT, command)
        published(name, "energy", {costs: {}}, "energy.png", command)


if __name__ == "__main__":
    main()
